// Certificates as data: every field, and what strangers may put there.
#include "heddle/tls/certificate_details.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "heddle/error_queue.h"

#include "openssl/handles.h"
#include "support/own_entries.h"

namespace heddle {
namespace {

using std::string_literals::operator""s;
using Kind = AlternativeNameKind;
using Alter = std::function<void(X509*)>;

std::string der_of(X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  const openssl::MemoryPtr owned(reinterpret_cast<char*>(der));
  return size > 0 ? std::string(owned.get(), static_cast<std::size_t>(size)) : "";
}

// The DER of a certificate on which `alter` has worked.
std::string made(const Alter& alter, const char* curve = nullptr) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const openssl::KeyPtr key(curve != nullptr ? EVP_EC_gen(curve)
                                             : EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  const openssl::X509Ptr certificate(X509_new());
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 0x1234);
  ASN1_TIME_set_string(X509_getm_notBefore(certificate.get()), "20260131120000Z");
  ASN1_TIME_set_string(X509_getm_notAfter(certificate.get()), "20270131120000Z");
  X509_set_pubkey(certificate.get(), key.get());
  alter(certificate.get());
  EXPECT_NE(X509_sign(certificate.get(), key.get(), curve != nullptr ? EVP_sha256() : nullptr), 0);
  return der_of(certificate.get());
}

void extend(X509* certificate, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  const openssl::X509ExtensionPtr extension(
      X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  ASSERT_NE(extension, nullptr) << value;
  X509_add_ext(certificate, extension.get(), -1);
}

void extend_raw(X509* certificate, int kind, const std::string& content) {
  const openssl::Handle<ASN1_OCTET_STRING, ASN1_OCTET_STRING_free> octets(ASN1_OCTET_STRING_new());
  ASN1_OCTET_STRING_set(octets.get(), reinterpret_cast<const unsigned char*>(content.data()),
                        static_cast<int>(content.size()));
  const openssl::X509ExtensionPtr extension(
      X509_EXTENSION_create_by_NID(nullptr, kind, 0, octets.get()));
  X509_add_ext(certificate, extension.get(), -1);
}

// To a copy of its subject, which cannot be changed in place from OpenSSL 4.0 on.
void add_attribute(X509* certificate, int kind, int type, const std::string& value, int set = 0) {
  const openssl::X509NamePtr name(X509_NAME_dup(X509_get_subject_name(certificate)));
  ASSERT_EQ(X509_NAME_add_entry_by_NID(name.get(), kind, type,
                                       reinterpret_cast<const unsigned char*>(value.data()),
                                       static_cast<int>(value.size()), -1, set),
            1);
  X509_set_subject_name(certificate, name.get());
}

class CertificateDetailsTest : public testing::Test {
 protected:
  // Leaves the caller's entries in the queue alone, and only those.
  static CertificateDetails details(const Alter& alter, const char* curve = nullptr) {
    const std::string der = made(alter, curve);
    const test::OwnEntries own;
    auto read = certificate_details(der);
    EXPECT_TRUE(read) << read.error().message();
    return read ? *std::move(read) : CertificateDetails{};
  }
};

TEST_F(CertificateDetailsTest, FixedFieldsAreData) {
  const CertificateDetails shown = details([](X509* /*as it is*/) {}, "P-256");
  EXPECT_EQ(shown.version, 3);
  EXPECT_EQ(shown.serial, "1234");
  using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace): of literals.
  EXPECT_EQ(shown.not_before, std::chrono::sys_days(std::chrono::year(2026) / 1 / 31) + 12h);
  EXPECT_EQ(shown.not_after, std::chrono::sys_days(std::chrono::year(2027) / 1 / 31) + 12h);
  EXPECT_EQ(shown.key.type, "EC");
  EXPECT_EQ(shown.key.bits, 256);
  EXPECT_EQ(shown.key.security_bits, 128);
  EXPECT_EQ(shown.key.curve, "prime256v1");
  EXPECT_EQ(shown.signature_algorithm.oid, "1.2.840.10045.4.3.2");
  EXPECT_EQ(shown.signature_algorithm.name, "ecdsa-with-SHA256");
  EXPECT_EQ(shown.sha256.size(), 95U);
  EXPECT_EQ(shown.spki_sha256.size(), 95U);
  EXPECT_NE(shown.sha256, shown.spki_sha256);
  EXPECT_FALSE(shown.basic_constraints || shown.key_usage || shown.extended_key_usage);
  EXPECT_TRUE(shown.extensions.empty());
  EXPECT_TRUE(shown.malformed.empty());
}

TEST_F(CertificateDetailsTest, AgreesWithTheSummary) {
  const Identity made = make_self_signed({"server.test", "::1"}).value();
  const Certificate summary = parse_certificate(made.certificate_pem).value();
  const CertificateDetails all = certificate_details(summary.der).value();
  EXPECT_EQ(all.sha256, summary.sha256);
  EXPECT_EQ(all.serial, summary.serial);
  ASSERT_EQ(all.subject_alt_names.size(), 2U);
  EXPECT_EQ(all.subject_alt_names[0].text, "server.test");
  EXPECT_EQ(all.subject_alt_names[1].text, "::1");
  EXPECT_EQ(all.subject_alt_names[1].value, std::string(15, '\0') + '\1');
  EXPECT_TRUE(all.malformed.empty());
}

TEST_F(CertificateDetailsTest, KeyKeepsItsFingerprintInOtherCertificates) {
  const openssl::KeyPtr key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  const auto with_key = [&key](X509* certificate) { X509_set_pubkey(certificate, key.get()); };
  const CertificateDetails one = details(with_key);
  const CertificateDetails other = details([&](X509* certificate) {
    with_key(certificate);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 7);
  });
  EXPECT_EQ(one.spki_sha256, other.spki_sha256);
  EXPECT_NE(one.sha256, other.sha256);
}

TEST_F(CertificateDetailsTest, NamesAreSequencesOfSets) {
  const CertificateDetails shown = details([](X509* certificate) {
    add_attribute(certificate, NID_countryName, MBSTRING_ASC, "DE");
    add_attribute(certificate, NID_commonName, MBSTRING_UTF8, "b\xc3\xa4r");
    add_attribute(certificate, NID_userId, MBSTRING_UTF8, "7", -1);  // Into the set before.
  });
  ASSERT_EQ(shown.subject.size(), 2U);
  ASSERT_EQ(shown.subject[0].size(), 1U);
  EXPECT_EQ(shown.subject[0][0].type.oid, "2.5.4.6");
  EXPECT_EQ(shown.subject[0][0].type.name, "countryName");
  ASSERT_EQ(shown.subject[1].size(), 2U);
  std::vector<std::string> values = {shown.subject[1][0].value, shown.subject[1][1].value};
  std::ranges::sort(values);
  EXPECT_EQ(values, (std::vector{"7"s, "b\xc3\xa4r"s}));
  EXPECT_TRUE(shown.issuer.empty());
}

TEST_F(CertificateDetailsTest, NulInANameIsData) {
  const CertificateDetails shown = details([](X509* certificate) {
    add_attribute(certificate, NID_commonName, MBSTRING_UTF8, "a\0b"s);
  });
  EXPECT_EQ(shown.subject.at(0).at(0).value, "a\0b"s);
  EXPECT_TRUE(shown.subject.at(0).at(0).is_text);
}

TEST_F(CertificateDetailsTest, OtherEncodingsOfTextAreUtf8) {
  const CertificateDetails shown = details([](X509* certificate) {
    add_attribute(certificate, NID_commonName, V_ASN1_BMPSTRING, "\x20\xac"s);
    add_attribute(certificate, NID_commonName, V_ASN1_T61STRING, "\xfc"s);
  });
  EXPECT_EQ(shown.subject.at(0).at(0).value, "\xe2\x82\xac");
  EXPECT_EQ(shown.subject.at(1).at(0).value, "\xc3\xbc");
}

TEST_F(CertificateDetailsTest, BytesThatAreNoTextStayBytesAndAreMarked) {
  const CertificateDetails shown = details([](X509* certificate) {
    add_attribute(certificate, NID_x500UniqueIdentifier, V_ASN1_BIT_STRING, "\x01\xff"s);
  });
  EXPECT_FALSE(shown.subject.at(0).at(0).is_text);
  EXPECT_EQ(shown.subject[0][0].value, "\x01\xff");
  EXPECT_EQ(shown.malformed, std::vector{"subject"s});
}

// OpenSSL itself refuses such a certificate, since it cannot compare the name with others.
TEST_F(CertificateDetailsTest, TextThatIsNoTextOfItsTypeIsRefused) {
  std::string der = made([](X509* certificate) {
    add_attribute(certificate, NID_commonName, MBSTRING_UTF8, "a\xc3\xa4"s);
  });
  const std::size_t at = der.find("a\xc3\xa4");
  ASSERT_NE(at, std::string::npos);
  der[at + 2] = 'b';
  const test::OwnEntries own;
  const auto refused = certificate_details(der);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kInvalid);
}

TEST_F(CertificateDetailsTest, EveryKindOfAlternativeNameIsTyped) {
  const CertificateDetails shown = details([](X509* certificate) {
    extend(certificate, NID_subject_alt_name,
           "DNS:a.test,IP:1.2.3.4,IP:2001:db8::1,email:who@where.test,"
           "URI:spiffe://trust.test/worker,RID:1.2.3.4,"
           "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:user,otherName:1.2.3;INTEGER:5");
  });
  const std::vector<AlternativeName>& names = shown.subject_alt_names;
  ASSERT_EQ(names.size(), 8U);
  const std::vector<Kind> kinds = {Kind::kDns, Kind::kIp,           Kind::kIp,    Kind::kEmail,
                                   Kind::kUri, Kind::kRegisteredId, Kind::kOther, Kind::kOther};
  const std::vector<std::string> texts = {
      "a.test", "1.2.3.4", "2001:db8::1", "who@where.test", "spiffe://trust.test/worker", "1.2.3.4",
      "user",   ""};
  for (std::size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(names[i].kind, kinds[i]) << i;
    EXPECT_EQ(names[i].text, texts[i]) << i;
  }
  EXPECT_EQ(names[0].value, "a.test");
  EXPECT_EQ(names[1].value, "\x01\x02\x03\x04");
  EXPECT_EQ(names[5].type.oid, "1.2.3.4");
  EXPECT_EQ(names[6].type.oid, "1.3.6.1.4.1.311.20.2.3");
  EXPECT_EQ(names[6].value, "\x0c\x04user");
  EXPECT_EQ(names[7].value, "\x02\x01\x05");
}

// Both kinds have no text form, and OpenSSL's configuration cannot make them.
TEST_F(CertificateDetailsTest, DirectoryAndRareNamesAreTyped) {
  const CertificateDetails shown = details([](X509* certificate) {
    extend_raw(certificate, NID_subject_alt_name,
               "\x30\x19"
               "\xa4\x10\x30\x0e\x31\x0c\x30\x0a\x06\x03\x55\x04\x03\x0c\x03x\0y"  // CN of 3 bytes.
               "\xa5\x05\xa1\x03\x0c\x01z"s);                                      // A party.
  });
  ASSERT_EQ(shown.subject_alt_names.size(), 2U) << shown.malformed.size();
  EXPECT_EQ(shown.subject_alt_names[0].kind, Kind::kDirectory);
  EXPECT_EQ(shown.subject_alt_names[0].directory.at(0).at(0).value, "x\0y"s);
  EXPECT_EQ(shown.subject_alt_names[0].text, "CN=x\\00y");
  EXPECT_EQ(shown.subject_alt_names[1].kind, Kind::kEdiParty);
  EXPECT_EQ(shown.subject_alt_names[1].value, "\xa5\x05\xa1\x03\x0c\x01z");
}

TEST_F(CertificateDetailsTest, NulInAnAlternativeNameIsDataAndPrintable) {
  const CertificateDetails shown = details([](X509* certificate) {
    extend_raw(certificate, NID_subject_alt_name,
               "\x30\x0a\x82\x08"
               "a.b\0.c\xff\n"s);
  });
  ASSERT_EQ(shown.subject_alt_names.size(), 1U);
  EXPECT_EQ(shown.subject_alt_names[0].value, "a.b\0.c\xff\n"s);
  EXPECT_EQ(shown.subject_alt_names[0].text, "a.b\\00.c\\FF\\0A");
}

TEST_F(CertificateDetailsTest, AddressOfAnImpossibleLengthHasNoText) {
  const CertificateDetails shown = details([](X509* certificate) {
    extend_raw(certificate, NID_subject_alt_name,
               "\x30\x05\x87\x03"
               "abc"s);
  });
  ASSERT_EQ(shown.subject_alt_names.size(), 1U);
  EXPECT_EQ(shown.subject_alt_names[0].value, "abc");
  EXPECT_EQ(shown.subject_alt_names[0].text, "");
}

TEST_F(CertificateDetailsTest, UsageConstraintsAndKeyIdentifiersAreData) {
  const CertificateDetails shown = details([](X509* certificate) {
    extend(certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:3");
    extend(certificate, NID_key_usage, "digitalSignature,keyCertSign,decipherOnly");
    extend(certificate, NID_ext_key_usage, "serverAuth,1.2.3.4");
    extend(certificate, NID_subject_key_identifier, "01:02");
    extend_raw(certificate, NID_authority_key_identifier, "\x30\x04\x80\x02\x01\x02");
  });
  ASSERT_TRUE(shown.basic_constraints);
  EXPECT_TRUE(shown.basic_constraints->is_ca);
  EXPECT_EQ(shown.basic_constraints->path_length, 3);
  EXPECT_EQ(shown.key_usage,
            (std::vector{KeyUse::kDigitalSignature, KeyUse::kKeyCertSign, KeyUse::kDecipherOnly}));
  ASSERT_TRUE(shown.extended_key_usage);
  ASSERT_EQ(shown.extended_key_usage->size(), 2U);
  EXPECT_EQ(shown.extended_key_usage->at(0).oid, "1.3.6.1.5.5.7.3.1");
  EXPECT_EQ(shown.extended_key_usage->at(1).oid, "1.2.3.4");
  EXPECT_EQ(shown.subject_key_id, "\x01\x02");
  EXPECT_EQ(shown.authority_key_id, "\x01\x02");
  ASSERT_EQ(shown.extensions.size(), 5U);
  EXPECT_EQ(shown.extensions[0].id.oid, "2.5.29.19");
  EXPECT_TRUE(shown.extensions[0].critical);
  EXPECT_EQ(shown.extensions[0].der, "\x30\x06\x01\x01\xff\x02\x01\x03");
  EXPECT_FALSE(shown.extensions[1].critical);
}

TEST_F(CertificateDetailsTest, PathLengthIsClamped) {
  const CertificateDetails shown = details([](X509* certificate) {
    extend_raw(certificate, NID_basic_constraints,
               "\x30\x10\x01\x01\xff\x02\x0b\x01\0\0\0\0\0\0\0\0\0\0"s);
  });
  ASSERT_TRUE(shown.basic_constraints);
  EXPECT_EQ(shown.basic_constraints->path_length, std::numeric_limits<std::int64_t>::max());
}

TEST_F(CertificateDetailsTest, UrlsAreListed) {
  const CertificateDetails shown = details([](X509* certificate) {
    extend(certificate, NID_info_access,
           "OCSP;URI:http://o.test/,caIssuers;URI:http://i.test/ca,OCSP;URI:http://o2.test/,"
           "OCSP;DNS:no.url.test");
    extend(certificate, NID_crl_distribution_points, "URI:http://c.test/1,URI:http://c.test/2");
  });
  EXPECT_EQ(shown.ocsp_urls, (std::vector{"http://o.test/"s, "http://o2.test/"s}));
  EXPECT_EQ(shown.ca_issuer_urls, (std::vector{"http://i.test/ca"s}));
  EXPECT_EQ(shown.crl_urls, (std::vector{"http://c.test/1"s, "http://c.test/2"s}));
}

// As in CVE-2019-5010 of CPython: a point without a name; and one whose name is relative.
TEST_F(CertificateDetailsTest, CrlPointsWithoutAFullNameAreSkipped) {
  const CertificateDetails nameless = details([](X509* certificate) {
    extend_raw(certificate, NID_crl_distribution_points, "\x30\x06\x30\x04\x81\x02\x01\x06"s);
  });
  EXPECT_TRUE(nameless.crl_urls.empty());
  EXPECT_TRUE(nameless.malformed.empty());
  const CertificateDetails relative = details([](X509* certificate) {
    extend_raw(certificate, NID_crl_distribution_points,
               "\x30\x10\x30\x0e\xa0\x0c\xa1\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01x"s);
  });
  EXPECT_TRUE(relative.crl_urls.empty());
  EXPECT_TRUE(relative.malformed.empty());
}

TEST_F(CertificateDetailsTest, EachMalformedExtensionIsNamed) {
  const std::vector<int> kinds = {
      NID_subject_alt_name, NID_basic_constraints,      NID_key_usage,
      NID_ext_key_usage,    NID_subject_key_identifier, NID_authority_key_identifier,
      NID_info_access,      NID_crl_distribution_points};
  const CertificateDetails shown = details([&kinds](X509* certificate) {
    for (const int kind : kinds)
      extend_raw(certificate, kind,
                 "\x30\x7f"
                 "junk");
  });
  std::vector<std::string> expected;
  for (const int kind : kinds) expected.emplace_back(OBJ_nid2sn(kind));
  EXPECT_EQ(shown.malformed, expected);
  EXPECT_EQ(shown.extensions.size(), kinds.size());
  EXPECT_FALSE(shown.basic_constraints || shown.key_usage || shown.extended_key_usage);
}

TEST_F(CertificateDetailsTest, ExtensionThatIsThereTwiceIsMalformed) {
  const CertificateDetails shown = details([](X509* certificate) {
    extend(certificate, NID_subject_alt_name, "DNS:a.test");
    extend(certificate, NID_subject_alt_name, "DNS:b.test");
  });
  EXPECT_TRUE(shown.subject_alt_names.empty());
  EXPECT_EQ(shown.malformed, std::vector{"subjectAltName"s});
}

TEST_F(CertificateDetailsTest, MalformedTimeIsMissingAndNamed) {
  const CertificateDetails shown = details([](X509* certificate) {
    // As long as one: late versions of OpenSSL do not read a shorter one at all.
    ASN1_STRING_set(X509_getm_notAfter(certificate), "not-a-ClockTime", 15);
  });
  EXPECT_TRUE(shown.not_before);
  EXPECT_FALSE(shown.not_after);
  EXPECT_EQ(shown.malformed, std::vector{"not_after"s});
}

TEST_F(CertificateDetailsTest, TimesFarAwayAreTimePoints) {
  const CertificateDetails shown = details([](X509* certificate) {
    ASN1_TIME_set_string(X509_getm_notBefore(certificate), "500101000000Z");
    ASN1_TIME_set_string(X509_getm_notAfter(certificate), "99991231235959Z");
  });
  EXPECT_EQ(shown.not_before->time_since_epoch().count(), -631152000);
  EXPECT_EQ(shown.not_after->time_since_epoch().count(), 253402300799);
}

TEST_F(CertificateDetailsTest, KeyThatIsNoneIsNamed) {
  std::string der = made([](X509* /*as it is*/) {});
  // The algorithm of the key, id-Ed25519 (RFC 8410): the second of three that are there.
  const std::string algorithm = "\x30\x05\x06\x03\x2b\x65\x70";
  const std::size_t at = der.find(algorithm, der.find(algorithm) + 1);
  ASSERT_NE(at, std::string::npos);
  der[at + 6] = '\x7f';
  const CertificateDetails shown = certificate_details(der).value();
  EXPECT_EQ(shown.key.type, "");
  EXPECT_EQ(shown.malformed, std::vector{"key"s});
}

// OBJ_obj2txt() takes quadratic time over such a number in old versions of OpenSSL.
TEST_F(CertificateDetailsTest, EndlessObjectIdentifierIsEmpty) {
  const CertificateDetails shown = details([](X509* certificate) {
    std::string oid = "\x2a" + std::string(200, '\xff') + "\x01";
    const std::string name = "\x88\x81\xca" + oid;
    extend_raw(certificate, NID_subject_alt_name, "\x30\x81\xcd" + name);
  });
  ASSERT_EQ(shown.subject_alt_names.size(), 1U);
  EXPECT_EQ(shown.subject_alt_names[0].kind, Kind::kRegisteredId);
  EXPECT_EQ(shown.subject_alt_names[0].type.oid, "");
  EXPECT_EQ(shown.subject_alt_names[0].text, "");
}

TEST(CertificateForms, DerGoesToPemAndBack) {
  const Identity made = make_self_signed({"server.test"}).value();
  const test::OwnEntries own;
  const Certificate from_pem = parse_certificate(made.certificate_pem).value();
  EXPECT_EQ(certificate_pem(from_pem.der), made.certificate_pem);
  const Certificate from_der = parse_certificate_der(from_pem.der).value();
  EXPECT_EQ(from_der.sha256, made.sha256);
  EXPECT_EQ(from_der.der, from_pem.der);
}

TEST(CertificateForms, WhatIsNoDerIsRefused) {
  const std::string der = parse_certificate(make_self_signed({"a.test"})->certificate_pem)->der;
  const test::OwnEntries own;
  for (const std::string& bad : {""s, "\0"s, "junk"s, der.substr(0, der.size() - 1), der + "x"s}) {
    const auto details = certificate_details(bad);
    ASSERT_FALSE(details);
    EXPECT_EQ(details.error().code, Errc::kInvalid);
    EXPECT_FALSE(parse_certificate_der(bad));
  }
}

TEST(CertificateForms, CertificateOfMoreThanAMebibyteIsRefused) {
  const auto with_comment = [](std::size_t size) {
    return made([size](X509* certificate) {
      extend_raw(certificate, NID_netscape_comment, std::string(size, 'x'));
    });
  };
  const std::string large = with_comment(std::size_t{1} << 20);
  const std::string allowed = with_comment((std::size_t{1} << 20) - 1000);
  const test::OwnEntries own;
  EXPECT_TRUE(certificate_details(allowed));
  EXPECT_TRUE(parse_certificate_der(allowed));
  EXPECT_FALSE(certificate_details(large));
  EXPECT_FALSE(parse_certificate_der(large));
}

TEST(CertificateForms, ChainsAreReadInOrder) {
  const Identity one = make_self_signed({"one.test"}).value();
  const Identity two = make_self_signed({"two.test"}).value();
  const test::OwnEntries own;
  const auto chain =
      parse_certificates("remark\n" + one.certificate_pem + one.key_pem + two.certificate_pem);
  ASSERT_TRUE(chain) << chain.error().message();
  ASSERT_EQ(chain->size(), 2U);
  EXPECT_EQ((*chain)[0].sha256, one.sha256);
  EXPECT_EQ((*chain)[1].sha256, two.sha256);
  std::string damaged = two.certificate_pem;
  damaged[damaged.size() / 2] = '!';
  for (const std::string& bad : {""s, "junk"s, one.key_pem, one.certificate_pem + damaged,
                                 std::string((4U << 20) + 1, '\n') + one.certificate_pem}) {
    const auto refused = parse_certificates(bad);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kInvalid);
  }
}

TEST(PrivateKeys, AreDescribed) {
  const Identity made = make_self_signed({"a.test"}, KeyType::kEcdsaP384).value();
  const test::OwnEntries own;
  const auto key = describe_private_key(made.key_pem);
  ASSERT_TRUE(key) << key.error().message();
  EXPECT_EQ(key->type, "EC");
  EXPECT_EQ(key->bits, 384);
  EXPECT_EQ(key->curve, "secp384r1");
  EXPECT_FALSE(describe_private_key(made.certificate_pem));
}

}  // namespace
}  // namespace heddle
