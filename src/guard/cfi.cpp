// The call frame information of an instruction: see cfi.h.
#include "guard/cfi.h"

#include <cstring>

#include <dlfcn.h>

#include "guard/elf.h"

namespace heddle::guard {
namespace {

// DWARF's numbers, by their names there.
enum Op : std::uint8_t {
  kNop = 0x00,
  kSetLoc = 0x01,
  kAdvanceLoc1 = 0x02,
  kAdvanceLoc2 = 0x03,
  kAdvanceLoc4 = 0x04,
  kOffsetExtended = 0x05,
  kRestoreExtended = 0x06,
  kUndefined = 0x07,
  kSameValue = 0x08,
  kRegister = 0x09,
  kRememberState = 0x0a,
  kRestoreState = 0x0b,
  kDefCfa = 0x0c,
  kDefCfaRegister = 0x0d,
  kDefCfaOffset = 0x0e,
  kDefCfaExpression = 0x0f,
  kExpression = 0x10,
  kOffsetExtendedSf = 0x11,
  kDefCfaSf = 0x12,
  kDefCfaOffsetSf = 0x13,
  kValOffset = 0x14,
  kValOffsetSf = 0x15,
  kValExpression = 0x16,
  kGnuArgsSize = 0x2e,
  kAdvanceLoc = 0x40,  // These three have an operand in the low six bits.
  kOffset = 0x80,
  kRestore = 0xc0,
};

constexpr std::uint8_t kPointerOmitted = 0xff;
constexpr std::uint8_t kPointerRelative = 0x10;
constexpr std::uint8_t kSearchTable = 0x3b;  // Pairs of 32-bit offsets from the header's start.
constexpr std::uint8_t kBreg0 = 0x70;        // DW_OP_breg0 and its 31 successors.
constexpr std::uint8_t kDeref = 0x06;
constexpr std::uint8_t kNoRegister = 0xff;

// The tables hold offsets from where they are.
const std::uint8_t* bytes_at(std::uintptr_t address) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): once it is known to be in the tables.
  return reinterpret_cast<const std::uint8_t*>(address);
}

// Reads little-endian numbers. Once it fails, all it returns is 0.
class Reader {
 public:
  Reader(const std::uint8_t* start, const std::uint8_t* end) : next_(start), end_(end) {}

  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] bool at_end() const { return failed_ || next_ == end_; }
  [[nodiscard]] const std::uint8_t* position() const { return next_; }
  void fail() { failed_ = true; }

  template <typename T>
  T fixed() {
    T value{};
    const std::uint8_t* start = take(sizeof(T));
    if (start != nullptr) std::memcpy(&value, start, sizeof(T));
    return value;
  }

  std::uint64_t unsigned_leb() { return leb().value; }

  std::int64_t signed_leb() {
    const Leb read = leb();
    const bool negative = (read.last & 0x40) != 0 && read.bits < 64;
    return static_cast<std::int64_t>(negative ? read.value | (~std::uint64_t{0} << read.bits)
                                              : read.value);
  }

  std::uintptr_t pointer(std::uint8_t encoding) {
    const auto here = reinterpret_cast<std::uintptr_t>(next_);
    std::uintptr_t value = 0;
    switch (encoding & 0x0f) {
      case 0x00:
      case 0x04:
      case 0x0c:
        value = fixed<std::uint64_t>();
        break;
      case 0x03:
        value = fixed<std::uint32_t>();
        break;
      case 0x0b:
        value = static_cast<std::uintptr_t>(std::int64_t{fixed<std::int32_t>()});
        break;
      default:
        fail();
    }
    if ((encoding & 0x70) == kPointerRelative) return value + here;
    if ((encoding & 0x70) != 0) fail();
    return value;
  }

  // The text that comes next, with its terminator.
  const char* text() {
    const auto left = static_cast<std::size_t>(end_ - next_);
    const void* end = failed_ || left == 0 ? nullptr : std::memchr(next_, 0, left);
    const auto* start = reinterpret_cast<const char*>(next_);
    if (end == nullptr) {
      failed_ = true;
      return "";
    }
    next_ = static_cast<const std::uint8_t*>(end) + 1;
    return start;
  }

  // The next `size` bytes; a failed reader if there are not so many.
  Reader block(std::uint64_t size) {
    const std::uint8_t* start = take(size);
    Reader inner(start, start == nullptr ? start : start + size);
    if (start == nullptr) inner.fail();
    return inner;
  }

 private:
  struct Leb {
    std::uint64_t value = 0;
    unsigned bits = 0;
    std::uint8_t last = 0;
  };

  Leb leb() {
    Leb read;
    do {
      read.last = fixed<std::uint8_t>();
      if (read.bits < 64) read.value |= std::uint64_t{read.last & 0x7fU} << read.bits;
      read.bits += 7;
    } while ((read.last & 0x80) != 0);
    return read;
  }

  const std::uint8_t* take(std::uint64_t size) {
    if (failed_ || size > static_cast<std::uint64_t>(end_ - next_)) {
      failed_ = true;
      return nullptr;
    }
    const std::uint8_t* start = next_;
    next_ += size;
    return start;
  }

  const std::uint8_t* next_;
  const std::uint8_t* end_;
  bool failed_ = false;
};

// A common information entry: what the functions of an object file share.
struct Common {
  std::uint64_t code_alignment = 1;
  std::int64_t data_alignment = 1;
  std::uint8_t pointer_encoding = 0;
  bool augmented = false;
  bool signal_frame = false;
  Reader instructions{nullptr, nullptr};
};

// The record at `address`, without its length; a failed reader if it is not wholly in `tables`.
Reader record_at(std::uintptr_t address, const Memory& tables) {
  std::uint32_t length = 0;
  Reader failed(nullptr, nullptr);
  failed.fail();
  if (!tables.holds(address, sizeof(length))) return failed;
  const std::uint8_t* start = bytes_at(address);
  std::memcpy(&length, start, sizeof(length));
  start += sizeof(length);
  // The 64-bit form (0xffffffff), which nobody uses here, is in no memory.
  if (!tables.holds(address + sizeof(length), length)) return failed;
  return {start, start + length};
}

void read_augmentation(Common& common, const char* letters, Reader& reader) {
  Reader data = reader.block(reader.unsigned_leb());
  for (const char* letter = letters + 1; *letter != 0; ++letter) {
    switch (*letter) {
      case 'R':
        common.pointer_encoding = data.fixed<std::uint8_t>();
        break;
      case 'L':
        (void)data.fixed<std::uint8_t>();
        break;
      case 'P':
        (void)data.pointer(data.fixed<std::uint8_t>());
        break;
      case 'S':
        common.signal_frame = true;
        break;
      default:
        return reader.fail();
    }
  }
}

bool read_common(Reader reader, Common& common) {
  if (reader.fixed<std::uint32_t>() != 0) return false;
  const auto version = reader.fixed<std::uint8_t>();
  const char* letters = reader.text();
  common.code_alignment = reader.unsigned_leb();
  common.data_alignment = reader.signed_leb();
  const std::uint64_t return_register =
      version == 1 ? reader.fixed<std::uint8_t>() : reader.unsigned_leb();
  if (return_register != kRegisterReturn) return false;
  common.augmented = *letters == 'z';
  if (common.augmented) read_augmentation(common, letters, reader);
  if (!common.augmented && *letters != 0) return false;
  common.instructions = reader;
  return !reader.failed();
}

// Runs call frame instructions up to an address.
class Machine {
 public:
  Machine(const Common& common, std::uintptr_t location, std::uintptr_t address, Row& row)
      : common_(common), location_(location), address_(address), row_(row) {}

  // False if there is an instruction that is not known.
  bool run(Reader code) {
    while (!code.at_end() && location_ <= address_) {
      const auto op = code.fixed<std::uint8_t>();
      const std::uint8_t operand = op & 0x3f;
      switch (op & 0xc0) {
        case kAdvanceLoc:
          advance(operand);
          break;
        case kOffset:
          set(operand, at_cfa(code.unsigned_leb()));
          break;
        case kRestore:
          restore(operand);
          break;
        default:
          if (!extended(op, code)) return false;
      }
    }
    return !code.failed();
  }

  // What kRestore goes back to.
  void keep_initial() { initial_ = row_.registers; }

 private:
  using Kind = Rule::Kind;

  void advance(std::uint64_t steps) { location_ += steps * common_.code_alignment; }

  void set(std::uint64_t number, Rule rule) {
    if (number < kRegisterCount) row_.registers[number] = rule;  // Others are vector registers.
  }
  void restore(std::uint64_t number) {
    if (number < kRegisterCount) row_.registers[number] = initial_[number];
  }

  // Unsigned, where nothing overflows: both factors may be anything.
  [[nodiscard]] std::int32_t factored(std::uint64_t number) const {
    return static_cast<std::int32_t>(number * static_cast<std::uint64_t>(common_.data_alignment));
  }
  // Two's complement makes it the same multiplication.
  std::int32_t factored_signed(Reader& code) const {
    return factored(static_cast<std::uint64_t>(code.signed_leb()));
  }
  [[nodiscard]] Rule at_cfa(std::uint64_t number) const {
    return {.kind = Kind::kAtCfa, .offset = factored(number)};
  }

  // An address "register + offset", or the word found there: others are not used.
  static Rule expression(Reader code) {
    const auto op = code.fixed<std::uint8_t>();
    if (op < kBreg0 || op - kBreg0 >= static_cast<int>(kRegisterCount)) {
      return {.kind = Kind::kUndefined};
    }
    Rule rule{.kind = Kind::kRegister, .base = static_cast<std::uint8_t>(op - kBreg0)};
    rule.offset = static_cast<std::int32_t>(code.signed_leb());
    if (!code.at_end() && code.fixed<std::uint8_t>() == kDeref) rule.kind = Kind::kAtRegister;
    return code.at_end() && !code.failed() ? rule : Rule{.kind = Kind::kUndefined};
  }

  void define_cfa(std::uint64_t number, std::int32_t offset) {
    // One that we do not know must not become one that we do by losing its upper bits.
    const bool known = number < kRegisterCount;
    row_.cfa = {.kind = known ? Kind::kRegister : Kind::kUndefined,
                .base = known ? static_cast<std::uint8_t>(number) : kNoRegister,
                .offset = offset};
  }

  bool remember() {
    if (depth_ == remembered_.size()) return false;
    remembered_[depth_++] = row_;
    return true;
  }
  bool recall() {
    if (depth_ == 0) return false;
    row_ = remembered_[--depth_];
    return true;
  }

  bool extended(std::uint8_t op, Reader& code) {
    switch (op) {
      case kNop:
        return true;
      case kSetLoc:
        location_ = code.pointer(common_.pointer_encoding);
        return true;
      case kAdvanceLoc1:
        advance(code.fixed<std::uint8_t>());
        return true;
      case kAdvanceLoc2:
        advance(code.fixed<std::uint16_t>());
        return true;
      case kAdvanceLoc4:
        advance(code.fixed<std::uint32_t>());
        return true;
      case kRememberState:
        return remember();
      case kRestoreState:
        return recall();
      case kGnuArgsSize:
        (void)code.unsigned_leb();
        return true;
      default:
        return op >= kDefCfa && op <= kDefCfaExpression ? cfa_rule(op, code)
                                                        : register_rule(op, code);
    }
  }

  bool cfa_rule(std::uint8_t op, Reader& code) {
    if (op == kDefCfaExpression) {
      row_.cfa = expression(code.block(code.unsigned_leb()));
      return true;
    }
    const std::uint64_t number = op == kDefCfaOffset ? row_.cfa.base : code.unsigned_leb();
    const bool keeps_offset = op == kDefCfaRegister;
    define_cfa(number,
               keeps_offset ? row_.cfa.offset : static_cast<std::int32_t>(code.unsigned_leb()));
    return true;
  }

  bool register_rule(std::uint8_t op, Reader& code) {
    if (op == kDefCfaOffsetSf) {
      row_.cfa.offset = factored_signed(code);
      return true;
    }
    const std::uint64_t number = code.unsigned_leb();
    switch (op) {
      case kDefCfaSf:
        define_cfa(number, factored_signed(code));
        return true;
      case kOffsetExtended:
        set(number, at_cfa(code.unsigned_leb()));
        return true;
      case kOffsetExtendedSf:
        set(number, {.kind = Kind::kAtCfa, .offset = factored_signed(code)});
        return true;
      case kValOffset:
        set(number, {.kind = Kind::kCfaPlus, .offset = factored(code.unsigned_leb())});
        return true;
      case kValOffsetSf:
        set(number, {.kind = Kind::kCfaPlus, .offset = factored_signed(code)});
        return true;
      case kRestoreExtended:
        restore(number);
        return true;
      case kUndefined:
        set(number, {.kind = Kind::kUndefined});
        return true;
      case kSameValue:
        set(number, {});
        return true;
      case kRegister:
        return moved_to_register(number, code.unsigned_leb());
      case kExpression:
        return at_expression(number, code);
      case kValExpression:
        set(number, expression(code.block(code.unsigned_leb())));
        return true;
      default:
        return false;
    }
  }

  bool moved_to_register(std::uint64_t number, std::uint64_t where) {
    if (where >= kRegisterCount) return false;
    set(number, {.kind = Kind::kRegister, .base = static_cast<std::uint8_t>(where)});
    return true;
  }

  bool at_expression(std::uint64_t number, Reader& code) {
    Rule rule = expression(code.block(code.unsigned_leb()));
    const bool is_address = rule.kind == Kind::kRegister;
    rule.kind = is_address ? Kind::kAtRegister : Kind::kUndefined;
    set(number, rule);
    return true;
  }

  const Common& common_;
  std::uintptr_t location_;
  std::uintptr_t address_;
  Row& row_;
  std::array<Rule, kRegisterCount> initial_{};
  std::array<Row, 3> remembered_{};
  std::size_t depth_ = 0;
};

struct Pair {
  std::int32_t function;
  std::int32_t record;
};

// The address of the record of the last function that begins at or before `address`, by the sorted
// table in .eh_frame_hdr; 0 if there is none.
std::uintptr_t find_record(std::uintptr_t header, const Memory& tables, std::uintptr_t address) {
  constexpr std::size_t kHeadBytes = 4;
  if (!tables.holds(header, kHeadBytes)) return 0;
  const std::uint8_t* const encodings = bytes_at(header);
  if (encodings[0] != 1 || encodings[2] == kPointerOmitted || encodings[3] != kSearchTable) {
    return 0;
  }
  Reader head(encodings + kHeadBytes, bytes_at(tables.end));
  (void)head.pointer(encodings[1]);
  const std::uintptr_t count = head.pointer(encodings[2]);
  const std::uint8_t* const table = head.position();
  const std::uintptr_t left = tables.end - reinterpret_cast<std::uintptr_t>(table);
  if (head.failed() || count == 0 || count > left / sizeof(Pair)) return 0;
  const auto wanted = static_cast<std::int64_t>(address - header);
  const auto pair_at = [table](std::size_t index) {
    Pair pair{};
    std::memcpy(&pair, table + index * sizeof(Pair), sizeof(Pair));
    return pair;
  };
  if (wanted < pair_at(0).function) return 0;
  std::size_t low = 0;
  std::size_t high = count;
  while (high - low > 1) {
    const std::size_t middle = low + (high - low) / 2;
    (pair_at(middle).function <= wanted ? low : high) = middle;
  }
  return header + static_cast<std::uintptr_t>(std::int64_t{pair_at(low).record});
}

}  // namespace

bool find_row(std::uintptr_t address, Row& row) {
  dl_find_object found{};
  // NOLINTNEXTLINE(performance-no-int-to-ptr): any number may be asked for.
  if (_dl_find_object(reinterpret_cast<void*>(address), &found) != 0) return false;
  const auto header = reinterpret_cast<std::uintptr_t>(found.dlfo_eh_frame);
  if (header == 0) return false;
  const Memory whole{.start = reinterpret_cast<std::uintptr_t>(found.dlfo_map_start),
                     .end = reinterpret_cast<std::uintptr_t>(found.dlfo_map_end)};
  return find_row(address, header, segment_at(whole, header), row);
}

bool find_row(std::uintptr_t address, std::uintptr_t header, const Memory& tables, Row& row) {
  const std::uintptr_t record = find_record(header, tables, address);
  if (record == 0) return false;
  Reader reader = record_at(record, tables);
  const auto common_base = reinterpret_cast<std::uintptr_t>(reader.position());
  const auto common_distance = reader.fixed<std::uint32_t>();
  Common common;
  if (reader.failed()) return false;
  if (!read_common(record_at(common_base - common_distance, tables), common)) return false;
  const std::uintptr_t start = reader.pointer(common.pointer_encoding);
  const std::uintptr_t size = reader.pointer(common.pointer_encoding & 0x0f);
  if (address < start || address - start >= size) return false;  // A gap between functions.
  if (common.augmented) (void)reader.block(reader.unsigned_leb());

  row = Row();
  row.interrupted = common.signal_frame;
  Machine machine(common, start, address, row);
  if (!machine.run(common.instructions)) return false;
  machine.keep_initial();
  return machine.run(reader);
}

}  // namespace heddle::guard
