// Certificates made at run time, and certificates of strangers described.
#include "heddle/tls/certificate.h"

#include <algorithm>
#include <ctime>
#include <functional>
#include <map>
#include <regex>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "heddle/error_queue.h"

#include "openssl/handles.h"

namespace heddle {
namespace {

using std::string_literals::operator""s;
using Names = std::vector<std::string>;

// Leaves an entry, and checks in the end that it is all there is.
class OwnEntry {
 public:
  OwnEntry() {
    ERR_clear_error();
    ERR_raise(ERR_LIB_USER, 42);
  }
  OwnEntry(const OwnEntry&) = delete;
  OwnEntry& operator=(const OwnEntry&) = delete;
  ~OwnEntry() {
    EXPECT_EQ(ERR_GET_REASON(ERR_get_error()), 42);
    EXPECT_EQ(ERR_peek_error(), 0U);
  }
};

class SelfSignedTest : public testing::TestWithParam<KeyType> {
 protected:
  OwnEntry own_entry_;
};

TEST_P(SelfSignedTest, ShowsWhatWasAskedFor) {
  const Names names = {"server.test", "*.example.com", "127.0.0.1", "2001:db8::1", "under_score"};
  const auto made = make_self_signed(names, GetParam(), 10);
  ASSERT_TRUE(made) << made.error().message();
  const auto shown = parse_certificate(made->certificate_pem);
  ASSERT_TRUE(shown) << shown.error().message();
  EXPECT_EQ(shown->subject, "CN=server.test");
  EXPECT_EQ(shown->issuer, "CN=server.test");
  EXPECT_EQ(shown->subject_alt_names, (Names{"DNS:server.test", "DNS:*.example.com", "IP:127.0.0.1",
                                             "IP:2001:DB8:0:0:0:0:0:1", "DNS:under_score"}));
  const std::map<KeyType, std::string> keys = {{KeyType::kEcdsaP256, "EC 256 bits"},
                                               {KeyType::kRsa2048, "RSA 2048 bits"},
                                               {KeyType::kEd25519, "ED25519 253 bits"}};
  if (GetParam() == KeyType::kEd25519) {
    EXPECT_TRUE(std::regex_match(shown->key, std::regex("ED25519 25[36] bits"))) << shown->key;
  } else {
    EXPECT_EQ(shown->key, keys.at(GetParam()));
  }
  EXPECT_EQ(shown->sha256, made->sha256);
  EXPECT_TRUE(std::regex_match(shown->sha256, std::regex("[0-9A-F]{2}(:[0-9A-F]{2}){31}")));
  EXPECT_TRUE(std::regex_match(shown->serial, std::regex("[4-7][0-9A-F]{31}"))) << shown->serial;
  const std::regex time(R"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ)");
  EXPECT_TRUE(std::regex_match(shown->not_before, time)) << shown->not_before;
  EXPECT_TRUE(std::regex_match(shown->not_after, time)) << shown->not_after;
  EXPECT_LT(shown->not_before, shown->not_after);
  EXPECT_FALSE(shown->der.empty());
}

TEST_P(SelfSignedTest, KeyBelongsToTheCertificateWhichItSigned) {
  const auto made = make_self_signed({"server.test"}, GetParam());
  ASSERT_TRUE(made) << made.error().message();
  const ErrorQueueScope scope(Leftovers::kDrop);
  const openssl::BioPtr certificate_bio(BIO_new_mem_buf(
      made->certificate_pem.data(), static_cast<int>(made->certificate_pem.size())));
  const openssl::X509Ptr certificate(
      PEM_read_bio_X509(certificate_bio.get(), nullptr, nullptr, nullptr));
  const openssl::BioPtr key_bio(
      BIO_new_mem_buf(made->key_pem.data(), static_cast<int>(made->key_pem.size())));
  const openssl::KeyPtr key(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr));
  ASSERT_TRUE(certificate && key);
  EXPECT_EQ(X509_check_private_key(certificate.get(), key.get()), 1);
  EXPECT_EQ(X509_verify(certificate.get(), key.get()), 1);
  const std::time_t now = std::time(nullptr);
  EXPECT_EQ(ASN1_TIME_cmp_time_t(X509_get0_notBefore(certificate.get()), now), -1);
  EXPECT_EQ(ASN1_TIME_cmp_time_t(X509_get0_notAfter(certificate.get()), now), 1);
}

INSTANTIATE_TEST_SUITE_P(KeyTypes, SelfSignedTest,
                         testing::Values(KeyType::kEcdsaP256, KeyType::kRsa2048,
                                         KeyType::kEd25519));

class CertificateTest : public testing::Test {
 protected:
  OwnEntry own_entry_;
};

TEST_F(CertificateTest, EachIsMadeAnew) {
  const auto one = make_self_signed({"server.test"}, KeyType::kEd25519);
  const auto other = make_self_signed({"server.test"}, KeyType::kEd25519);
  ASSERT_TRUE(one && other);
  EXPECT_NE(one->sha256, other->sha256);
  EXPECT_NE(one->key_pem, other->key_pem);
  EXPECT_NE(parse_certificate(one->certificate_pem).value().serial,
            parse_certificate(other->certificate_pem).value().serial);
}

TEST_F(CertificateTest, NameLongerThanACommonNameIsWholeInTheAlternatives) {
  const std::string longest = std::string(60, 'a') + "." + std::string(194, 'b');
  ASSERT_EQ(longest.size(), 255U);
  const auto made = make_self_signed({longest}, KeyType::kEd25519);
  ASSERT_TRUE(made) << made.error().message();
  const Certificate shown = parse_certificate(made->certificate_pem).value();
  EXPECT_EQ(shown.subject, "CN=" + longest.substr(0, 64));
  EXPECT_EQ(shown.subject_alt_names, (Names{"DNS:" + longest}));
}

TEST_F(CertificateTest, NamesThatNoCertificateCanHoldAreRefused) {
  for (const std::string& bad :
       {""s, "two words"s, "a,DNS:b"s, "a\nb"s, "a\0b"s, "m\xc3\xbcnchen"s, "a/b"s, "a;b"s,
        "@section"s, "a=b"s, "a\\b"s, "\"a\""s, "[::1]"s, std::string(256, 'a')}) {
    for (const Names& names : {Names{bad}, Names{"good.test", bad}}) {
      const auto made = make_self_signed(names, KeyType::kEd25519);
      ASSERT_FALSE(made) << bad;
      EXPECT_EQ(made.error().code, Errc::kInvalid);
      EXPECT_EQ(made.error().context().empty(), bad.empty()) << "it names the one at fault";
    }
  }
}

// A port that was left on a name would make a certificate that no client accepts.
TEST_F(CertificateTest, NameWithAPortIsRefused) {
  for (const char* const bad : {"localhost:8443", "127.0.0.1:443", "1:2:3"}) {
    const auto made = make_self_signed({bad}, KeyType::kEd25519);
    ASSERT_FALSE(made) << bad;
    EXPECT_EQ(made.error().code, Errc::kInvalid);
    EXPECT_EQ(made.error().context(), bad);
  }
}

TEST(CertificateDeathTest, CertificateForNothingAborts) {
  EXPECT_DEATH((void)make_self_signed({}), "make_self_signed\\(\\) without a name");
}

TEST_F(CertificateTest, TextThatIsNoCertificateIsRefused) {
  const Identity good = make_self_signed({"server.test"}, KeyType::kEd25519).value();
  const std::string& pem = good.certificate_pem;
  std::string damaged = pem;
  damaged[pem.size() / 2] = damaged[pem.size() / 2] == 'A' ? 'B' : '!';
  for (const std::string& bad :
       {""s, "\0"s, "nonsense"s, good.key_pem, pem.substr(0, pem.size() / 2), pem.substr(40),
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"s,
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"s, damaged}) {
    const auto parsed = parse_certificate(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().code, Errc::kInvalid);
  }
}

TEST_F(CertificateTest, FirstOfSeveralIsDescribedAndOtherTextIsSkipped) {
  const Identity first = make_self_signed({"first.test"}, KeyType::kEd25519).value();
  const Identity second = make_self_signed({"second.test"}, KeyType::kEd25519).value();
  const auto shown = parse_certificate("Some remark\n" + first.key_pem + first.certificate_pem +
                                       "another\n" + second.certificate_pem + "the end");
  ASSERT_TRUE(shown) << shown.error().message();
  EXPECT_EQ(shown->sha256, first.sha256);
}

// What a stranger may put into a certificate.
class StrangeCertificateTest : public CertificateTest {
 protected:
  // Describes a certificate on which `alter` has worked.
  static Certificate strange(const std::function<void(X509*)>& alter) {
    const ErrorQueueScope scope(Leftovers::kDrop);
    const openssl::KeyPtr key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
    const openssl::X509Ptr certificate(X509_new());
    X509_set_version(certificate.get(), X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
    X509_set_pubkey(certificate.get(), key.get());
    alter(certificate.get());
    EXPECT_NE(X509_sign(certificate.get(), key.get(), nullptr), 0);
    const openssl::BioPtr bio(BIO_new(BIO_s_mem()));
    PEM_write_bio_X509(bio.get(), certificate.get());
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    auto shown = parse_certificate({data, static_cast<std::size_t>(size)});
    EXPECT_TRUE(shown);
    return shown ? *std::move(shown) : Certificate{};
  }

  static void add_name(X509* certificate, int type, const std::string& value) {
    const openssl::X509NamePtr name(X509_NAME_new());
    X509_NAME_add_entry_by_NID(name.get(), NID_commonName, type,
                               reinterpret_cast<const unsigned char*>(value.data()),
                               static_cast<int>(value.size()), -1, 0);
    EXPECT_EQ(X509_set_subject_name(certificate, name.get()), 1);
  }

  static void add_alternative(X509* certificate, int type, const std::string& value) {
    const openssl::GeneralNamesPtr names(sk_GENERAL_NAME_new_null());
    GENERAL_NAME* const name = GENERAL_NAME_new();
    ASN1_STRING* const text = type == GEN_IPADD ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
    ASN1_STRING_set(text, value.data(), static_cast<int>(value.size()));
    GENERAL_NAME_set0_value(name, type, text);
    sk_GENERAL_NAME_push(names.get(), name);
    X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 0, 0);
  }

  static bool safe_to_log(const std::string& text) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      if (byte < 0x20 || byte == 0x7f) return false;
      // U+0080 to U+009F: some terminals obey them.
      if (byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0) {
        return false;
      }
    }
    return true;
  }
};

TEST_F(StrangeCertificateTest, ControlCharactersInASubjectAreEscaped) {
  const Certificate shown = strange(
      [](X509* certificate) { add_name(certificate, MBSTRING_UTF8, "a\nb\rc\x1b[1m\x7f\0z"s); });
  EXPECT_TRUE(safe_to_log(shown.subject)) << shown.subject;
  EXPECT_EQ(shown.subject, R"(CN=a\0Ab\0Dc\1B[1m\7F\00z)");
}

TEST_F(StrangeCertificateTest, ControlCharactersAboveAsciiAreEscapedToo) {
  const Certificate utf8 = strange([](X509* certificate) {
    add_name(certificate, MBSTRING_UTF8,
             "a\xc2\x9b"
             "31mb\xc2\x85");
  });
  EXPECT_TRUE(safe_to_log(utf8.subject)) << utf8.subject;
  const Certificate latin1 = strange([](X509* certificate) {
    add_name(certificate, V_ASN1_T61STRING,
             "a\x9b"
             "31m");
  });
  EXPECT_TRUE(safe_to_log(latin1.subject)) << latin1.subject;
}

TEST_F(StrangeCertificateTest, Utf8StaysReadable) {
  const Certificate shown = strange([](X509* certificate) {
    add_name(certificate, MBSTRING_UTF8, "M\xc3\xbcnchen, \xe2\x82\xac");
  });
  EXPECT_EQ(shown.subject, "CN=M\xc3\xbcnchen\\, \xe2\x82\xac");
}

TEST_F(StrangeCertificateTest, ControlCharactersInAlternativeNamesAreEscaped) {
  const Certificate shown = strange([](X509* certificate) {
    add_alternative(certificate, GEN_DNS, "good.test\0.evil\n\\ \xff"s);
  });
  EXPECT_EQ(shown.subject_alt_names, (Names{R"(DNS:good.test\00.evil\0A\5C\20\FF)"}));
}

TEST_F(StrangeCertificateTest, AddressOfAnImpossibleLengthIsShownEmpty) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{3}, std::size_t{5}, std::size_t{17}}) {
    const Certificate shown = strange([size](X509* certificate) {
      add_alternative(certificate, GEN_IPADD, std::string(size, '\1'));
    });
    EXPECT_EQ(shown.subject_alt_names, (Names{"IP:"}));
  }
}

TEST_F(StrangeCertificateTest, OtherKindsOfNamesAreLeftOut) {
  const Certificate shown =
      strange([](X509* certificate) { add_alternative(certificate, GEN_EMAIL, "who@where.test"); });
  EXPECT_EQ(shown.subject_alt_names, Names{});
}

TEST_F(StrangeCertificateTest, MalformedExtensionGivesNoNamesAndLeavesNoEntry) {
  const Certificate shown = strange([](X509* certificate) {
    ASN1_OCTET_STRING* const junk = ASN1_OCTET_STRING_new();
    ASN1_STRING_set(junk, "\x30\x7fjunk", 6);
    X509_EXTENSION* const extension =
        X509_EXTENSION_create_by_NID(nullptr, NID_subject_alt_name, 0, junk);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(junk);
  });
  EXPECT_EQ(shown.subject_alt_names, Names{});
}

TEST_F(StrangeCertificateTest, MalformedTimeIsShownEmpty) {
  const Certificate shown = strange([](X509* certificate) {
    // As long as one: late versions of OpenSSL do not read a shorter one at all.
    ASN1_STRING_set(X509_getm_notBefore(certificate), "not-a-UTCTime", 13);
  });
  EXPECT_EQ(shown.not_before, "");
  EXPECT_NE(shown.not_after, "");
}

TEST_F(StrangeCertificateTest, TimesFarAwayAreShown) {
  const Certificate shown = strange([](X509* certificate) {
    ASN1_TIME_set_string(X509_getm_notBefore(certificate), "500101000000Z");
    ASN1_TIME_set_string(X509_getm_notAfter(certificate), "99991231235959Z");
  });
  EXPECT_EQ(shown.not_before, "1950-01-01 00:00:00Z");
  EXPECT_EQ(shown.not_after, "9999-12-31 23:59:59Z");
}

TEST_F(StrangeCertificateTest, NegativeSerialAndEmptySubjectAreShown) {
  const Certificate shown = strange(
      [](X509* certificate) { ASN1_INTEGER_set(X509_get_serialNumber(certificate), -255); });
  EXPECT_EQ(shown.serial, "-FF");
  EXPECT_EQ(shown.subject, "");
}

}  // namespace
}  // namespace heddle
