// Context: what many TLS connections have in common: keys, trust, versions.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/tls/callbacks.h"
#include "heddle/tls/ktls.h"
#include "heddle/tls/session.h"

using SSL_CTX = struct ssl_ctx_st;

namespace heddle {

class Signer;

namespace tls {
struct ContextState;
}

enum class Role : bool { kClient, kServer };

enum class TlsVersion : std::uint8_t { kTls12, kTls13 };

enum class VerifyMode : std::uint8_t {
  kNone,      // Accept any peer. For a client: anybody can be in the middle.
  kOptional,  // Servers: ask for a certificate, and verify it if one comes.
  kRequired,  // The peer must present a certificate that verifies.
};

// Which certificates a new Context trusts.
enum class Trust : std::uint8_t {
  kSystem,  // OpenSSL's default file and folder, or SSL_CERT_FILE and SSL_CERT_DIR.
  kNothing,
};

// Which certificates of a chain must not be revoked by the CRLs that a Context has (RFC 5280,
// section 6.3).
enum class CrlCheck : std::uint8_t {
  kNone,
  kLeaf,   // The peer's own (X509_V_FLAG_CRL_CHECK).
  kChain,  // All of its chain (X509_V_FLAG_CRL_CHECK_ALL).
};

// What the extended key usage of a peer's certificate, and of CAs above it, must allow (RFC 5280,
// section 4.2.1.12).
enum class PeerPurpose : std::uint8_t {
  kByRole,  // serverAuth of servers, clientAuth of clients.
  kServer,  // serverAuth, of clients too.
  kClient,  // clientAuth, of servers too: between peers that have one certificate for both.
  kAny,     // Anything.
};

// What a client makes of OCSP responses that servers staple (RFC 6066, section 8).
enum class OcspCheck : std::uint8_t {
  kNone,       // It does not ask for one.
  kIfStapled,  // One that comes must say that the certificate is good.
  kRequired,   // One must come.
};

// Versions, ciphers and groups as Mozilla recommends them for servers (version 5.7 and later of its
// "Server Side TLS").
enum class Profile : std::uint8_t {
  kIntermediate,  // TLS 1.2 and 1.3, AEAD and forward secrecy, the client's preference.
  kModern,        // TLS 1.3 alone.
};

// CipherInfo describes one cipher suite that a Context may use.
struct CipherInfo {
  std::string name;           // OpenSSL's: "ECDHE-RSA-AES128-GCM-SHA256".
  std::string standard_name;  // IANA's: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".
  std::string version;        // The oldest that has it: "TLSv1.2".
  std::uint16_t id = 0;       // IANA's number.
  int strength_bits = 0;      // Of the key in use.
};

// A key exchange group.
struct GroupInfo {
  std::string name;      // IANA's: "x25519", "secp256r1".
  std::uint16_t id = 0;  // IANA's number.

  bool operator==(const GroupInfo&) const = default;
};

// A signature algorithm.
struct SignatureInfo {
  std::string name;      // IANA's: "ecdsa_secp256r1_sha256". "0xfe00" for one without a name here.
  std::uint16_t id = 0;  // IANA's number.

  bool operator==(const SignatureInfo&) const = default;
};

// The groups and signature algorithms that this OpenSSL and the providers that are loaded have, in
// no particular order; which of them a Context uses is another question: Context::groups(),
// Context::signature_algorithms(). A name goes into Context::set_groups() or
// Context::set_signature_algorithms(). Empty without memory.
HEDDLE_API std::vector<GroupInfo> supported_groups();
HEDDLE_API std::vector<SignatureInfo> supported_signature_algorithms();

// What the trust store of a Context holds (CPython's cert_store_stats()).
struct StoreStatistics {
  std::size_t certificates = 0;
  std::size_t ca_certificates = 0;  // Among them.
  std::size_t crls = 0;
};

// What became of the handshakes of a Context (SSL_CTX_sess_number(3)).
struct SessionStatistics {
  std::size_t cached = 0;         // Sessions in OpenSSL's own cache.
  std::size_t connects = 0;       // Client handshakes that were begun,
  std::size_t connects_done = 0;  // and those that succeeded.
  std::size_t accepts = 0;        // Server handshakes that were begun,
  std::size_t accepts_done = 0;   // and those that succeeded.
  std::size_t resumed = 0;        // Handshakes that resumed a session.
  std::size_t misses = 0;         // Sessions that clients asked for and were not found.
  std::size_t timeouts = 0;       // Those that had timed out.
  std::size_t evicted = 0;        // Those that were dropped because the cache was full.
};

// Context wraps an SSL_CTX. Defaults are those of CPython's create_default_context(): TLS 1.2 and
// 1.3, security level 2, no compression, no renegotiation, its list of ciphers (none without
// forward secrecy, none with SHA-1 or a PSK); a client verifies the peer's chain strictly and its
// host name; a server asks for no certificate. Two things differ. Groups are X25519, P-256 and
// P-384, preceded by X25519MLKEM768 with OpenSSL 3.5: finite fields cost a server too much before
// it knows its peer (set_groups()). And common names are never taken for host names (RFC 9525,
// section 2).
//
// Strictly (X509_V_FLAG_X509_STRICT, partial chains allowed): a certificate that breaks RFC 5280 is
// refused, such as a CA without keyUsage or a leaf without authorityKeyIdentifier, which tools make
// by default and curl, Go and Node accept. The remedy is to issue it again. To accept one that
// cannot be issued again, use set_strict(false).
//
// Servers refuse a hello with more than 128 groups or key shares (alert illegal_parameter), in
// which OpenSSL would search for long, and a server name with anything but letters, digits,
// hyphens, underscores and dots (alert unrecognized_name).
//
// Threads:  configure on one thread; afterwards streams of any thread may use it.
// Lifetime: streams keep what they need alive; the Context may go first.
// Errors:   kInvalid for what cannot be read, parsed or used, with the OpenSSL entry or errno that
//   says why; the context of the Error names the file, if a file is at fault. A call that fails
//   leaves the Context as it was, unless the call says otherwise.
// No call leaves an entry in the thread's OpenSSL error queue or removes one.
class HEDDLE_API Context {
 public:
  // Fails with kExhausted when out of memory. Trust is for clients, and for
  // servers that ask for certificates: a server's default is kNothing.
  static Result<Context> create(Role role);
  static Result<Context> create(Role role, Trust trust);

  // Makes a Context of an SSL_CTX that other code has made and configured, for connections in
  // `role`. It takes a reference of its own and changes nothing by itself. The settings are those
  // of the SSL_CTX: the functions below change them for all its users. As with create(), a client
  // needs a `server_name`; use set_check_hostname(false) if the SSL_CTX checks names in another
  // way. Fails with kInvalid if it was not made with TLS_method() or the TLS method of `role`.
  static Result<Context> adopt(Role role, SSL_CTX* ctx);

  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  Context(Context&&) noexcept;
  Context& operator=(Context&&) noexcept;
  ~Context();

  // Uses the certificate chain (PEM, leaf first) and its private key (PEM) from files; the key may
  // lie in the chain's file. Called again with another type of key (RSA, ECDSA), the Context serves
  // both. Error::context() names the file that is at fault; that is `key` also if the key does not
  // belong to the certificate. An encrypted key needs `password`; without one it is refused, and
  // nobody is asked.
  Result<void> load_cert_chain(const std::filesystem::path& chain, const std::filesystem::path& key,
                               std::string_view password = {});

  // The same from PEM text in memory.
  Result<void> use_cert_chain(std::string_view chain_pem, std::string_view key_pem,
                              std::string_view password = {});

  // The same for a key that is elsewhere: `signer` makes the signatures (heddle/tls/private_key.h).
  // For RSA, ECDSA, Ed25519 and Ed448. A suite of TLS 1.2 that decrypts with the key (TLS_RSA_...)
  // cannot be used. Precondition: `signer` is not null.
  Result<void> use_cert_chain(std::string_view chain_pem, std::shared_ptr<Signer> signer);

  // Presents `credentials` in place of those that it has for keys of the same types. To replace
  // certificates while streams use the Context, return them from on_certificate() instead.
  Result<void> use_credentials(const Credentials& credentials);

  // Trusts the CA certificates of a PEM file, or of a folder in which OpenSSL finds them by the
  // hash of their names when it needs one. Fails with kInvalid for a folder without such names: see
  // openssl-rehash(1).
  Result<void> load_verify_locations(const std::filesystem::path& file_or_folder);

  // Trusts the certificates given as PEM (one or more) or as one DER certificate.
  Result<void> add_trusted_certificates(std::span<const std::byte> pem_or_der);

  // As Trust::kSystem.
  Result<void> load_default_certs();

  // Adds certificate revocation lists: a file, or bytes, with PEM (one or more) or one in DER. They
  // take effect once set_crl_check() asks for it; a certificate for whose issuer there is no CRL
  // then does not verify (X509_V_ERR_UNABLE_TO_GET_CRL).
  Result<void> load_crls(const std::filesystem::path& file);
  Result<void> add_crls(std::span<const std::byte> pem_or_der);
  void set_crl_check(CrlCheck check);
  CrlCheck crl_check() const;

  // The certificates of CAs (X509_check_ca(3)) that this context trusts. Those of a folder are
  // included once a verification has needed them.
  std::vector<Certificate> trusted_certificates() const;
  StoreStatistics store_statistics() const;

  // Adds names of CAs to those that the peer is told: in a server's CertificateRequest, or in a
  // client's certificate_authorities extension (RFC 8446, section 4.2.4). They are the subjects of
  // the certificates in `pem`, and do not change what is trusted. ConnectionView::ca_names()
  // returns those that the peer has sent.
  Result<void> add_ca_names(std::string_view pem);

  // Precondition: oldest <= newest.
  Result<void> set_versions(TlsVersion oldest, TlsVersion newest);
  // Other settings of an adopted SSL_CTX count as the nearest of the two.
  TlsVersion oldest_version() const;
  TlsVersion newest_version() const;

  // TLS 1.2 suites, in OpenSSL's cipher list format.
  Result<void> set_ciphers(std::string_view list);
  // TLS 1.3 suites, by name, separated by colons.
  Result<void> set_ciphersuites(std::string_view names);
  // Key exchange groups, by name, separated by colons, best first. A server computes with the group
  // that a client chooses, before it knows the client: about 120 ms with ffdhe8192, 0.1 with
  // X25519. A name that this OpenSSL does not know is refused, unless it follows a '?':
  // "?X25519MLKEM768:X25519".
  Result<void> set_groups(std::string_view names);
  // What this context would offer or accept, best first: TLS 1.3, then TLS 1.2.
  std::vector<CipherInfo> ciphers() const;
  // The same of groups, and of signature algorithms for the handshake: what a hello made with these
  // settings says. Empty if versions and ciphers leave nothing to say. They cost as much as half a
  // handshake: do not ask on each connection.
  std::vector<GroupInfo> groups() const;
  std::vector<SignatureInfo> signature_algorithms() const;

  // Signature algorithms for the handshake, such as "ECDSA+SHA256:ed25519:rsa_pss_rsae_sha256",
  // best first: what this end accepts, and what it signs with (SSL_CTX_set1_sigalgs_list(3)).
  Result<void> set_signature_algorithms(std::string_view names);
  // Those for certificates of clients: on a server what it asks for, on a client what it signs
  // with (SSL_CTX_set1_client_sigalgs_list(3)).
  Result<void> set_client_signature_algorithms(std::string_view names);

  // Servers: parameters in PEM for DHE suites of TLS 1.2 ("BEGIN DH PARAMETERS"). Without a call
  // a server has no such suites: finite fields cost it too much. Fails with kInvalid for those that
  // the security level forbids.
  Result<void> set_dh_parameters(std::string_view pem);

  // Versions, ciphers, suites and groups at once. What is set later replaces its part.
  Result<void> use_profile(Profile profile);

  // TLS 1.3: pads records to a multiple of `block` bytes, so that their size says less about what
  // is in them (RFC 8446, section 5.4). 0, the default, does not. Fails with kInvalid for more than
  // 16384, and beside set_kernel_tls(): the kernel does not pad.
  Result<void> set_record_padding(std::size_t block);

  // Clients: asks the server for records of at most 512, 1024, 2048 or 4096 bytes, and sends none
  // that are longer (RFC 6066, section 4). Servers of OpenSSL agree, others may go on as before. 0,
  // the default, does not ask. Fails with kInvalid for other numbers.
  Result<void> set_max_fragment_length(std::size_t bytes);

  // One of OpenSSL's configuration commands, by its name in files: configure("Options",
  // "-SessionTicket"). For what has no call here; nginx's ssl_conf_command. SSL_CONF_cmd(3) has
  // the list; those that load certificates and keys are left out. Fails with kInvalid for a command
  // that is unknown or not for this role, and for a value that it does not take.
  Result<void> configure(std::string_view command, std::string_view value);

  // The protocols offered (client), or accepted, best first (server): RFC 7301. If a client offers
  // protocols but none of these, a server ends the handshake with alert no_application_protocol
  // (section 3.2). To decide otherwise, use on_alpn() instead. Each is 1 to 255 bytes. Fails with
  // kInvalid if on_alpn() is set.
  Result<void> set_alpn_protocols(std::span<const std::string_view> protocols);

  void set_verify_mode(VerifyMode mode);
  VerifyMode verify_mode() const;
  // Whether a client checks that the certificate is for the name it asked for. Under
  // VerifyMode::kNone that would have no effect, so connections are refused with kInvalid until
  // this is off, too. (Not with an adopted SSL_CTX, whose owner may look at
  // SSL_get_verify_result(3).)
  void set_check_hostname(bool check);
  bool check_hostname() const;

  // Whether certificates of peers, and of CAs, that break RFC 5280 are refused: its sections 4.1
  // and 4.2, as far as OpenSSL's X509_V_FLAG_X509_STRICT knows them (CPython's VERIFY_X509_STRICT;
  // see X509_VERIFY_PARAM_set_flags(3)). Without it the chain, its signatures, dates, purposes and
  // the host name are verified all the same. On by default, off in an adopted SSL_CTX unless that
  // has it. Sessions made with one setting are not resumed with the other (heddle/tls/session.h).
  void set_strict(bool strict);
  bool strict() const;

  // Flags of verification (X509_V_FLAG_..., X509_VERIFY_PARAM_set_flags(3)) that have no call here.
  void set_verify_flags(unsigned long flags);
  void clear_verify_flags(unsigned long flags);
  unsigned long verify_flags() const;

  // How many CA certificates a chain may have between the peer's and the trusted one.
  void set_verify_depth(int depth);
  int verify_depth() const;

  // What peers' certificates must be for (default kByRole).
  void set_peer_purpose(PeerPurpose purpose);
  PeerPurpose peer_purpose() const;

  // Clients: asks servers for OCSP responses, and verifies them (heddle/tls/ocsp.h). A handshake
  // whose response does not suffice fails with kUntrusted and X509_V_ERR_CERT_REVOKED,
  // X509_V_ERR_OCSP_CERT_UNKNOWN, X509_V_ERR_OCSP_VERIFY_FAILED or, for one that is missing,
  // X509_V_ERR_OCSP_VERIFY_NEEDED (alert bad_certificate_status_response). on_ocsp_response() is
  // asked after that, and must agree. Sessions are resumed under the same check only, and the
  // response is not asked for again. Fails with kInvalid in an adopted SSL_CTX.
  Result<void> set_ocsp_check(OcspCheck check);
  OcspCheck ocsp_check() const;

  // OpenSSL's security level (SSL_CTX_set_security_level(3)), 0 to 5: which keys, digests and
  // versions are too weak. The default is 2.
  void set_security_level(int level);
  int security_level() const;

  // Authentication after the handshake (TLS 1.3; RFC 8446, section 4.6.2). A client offers it. A
  // server then asks for a certificate not in the handshake, whatever its verify mode, but only in
  // Stream::request_client_certificate(). Off by default.
  void set_post_handshake_auth(bool on);
  bool post_handshake_auth() const;

  // How many TLS 1.3 tickets a server sends after a handshake (default 2), some 250 bytes each or
  // more with client certificates. They are sent as the transport takes them, without waiting for
  // the client to read them. Use 0 if clients do not resume, or if they close without reading:
  // closing with unread tickets resets the TCP connection.
  void set_num_tickets(std::size_t count);
  std::size_t num_tickets() const;
  SessionStatistics session_statistics() const;

  // How long sessions may be resumed (default 2 hours).
  void set_session_timeout(std::chrono::seconds timeout);

  // Servers: encrypts tickets with the first of `keys`, and accepts those of all. To rotate: put
  // the new one second everywhere, then first everywhere, and drop the old one after the session
  // timeout. Any thread may exchange them at any time. Without a call there is TicketRotation.
  // Fails with kInvalid if any of the calls below is in its place.
  // Servers that share keys resume each other's sessions if they also verify clients alike and show
  // the same certificate (heddle/tls/session.h).
  Result<void> set_ticket_keys(std::vector<TicketKey> keys);

  // Servers: how the keys of tickets change by themselves; by default as a TicketRotation{} does,
  // in an adopted SSL_CTX as its owner has it. The keys that there are stay. Fails with kInvalid
  // for an interval of less than a second, a negative time, and times that would keep more than
  // 1000 keys; and beside set_ticket_keys(), on_ticket_keys(), share_ticket_keys() and a session
  // store.
  Result<void> set_ticket_rotation(const TicketRotation& rotation);

  // Servers: has the tickets of `other` from now on, whose rotation, session timeout and
  // set_ticket_keys() count for both. For contexts that follow each other, or listen beside each
  // other. `other` may go first. As with set_ticket_keys(), sharing keys is not enough. Fails with
  // kInvalid beside set_ticket_keys(), on_ticket_keys(), set_ticket_rotation() and a session store,
  // and if `other` has no keys to share: it has on_ticket_keys(), a store, or is adopted.
  Result<void> share_ticket_keys(const Context& other);

  // The callbacks of heddle/tls/callbacks.h, with which a connection asks or tells the program
  // something. An empty function removes a callback, unless the call says otherwise. Where a
  // callback excludes another setting, and that is set, the call fails with kInvalid and names
  // both.
  void on_client_hello(ClientHelloCallback callback);  // Servers.
  void on_server_name(ServerNameCallback callback);    // Servers.
  void on_certificate(CertificateCallback callback);
  Result<void> on_alpn(AlpnCallback callback);         // Servers. Instead of set_alpn_protocols().
  void on_ocsp_request(OcspRequestCallback callback);  // Servers.
  void on_ocsp_response(OcspResponseCallback callback);  // Clients: asks for a response, too.
  void on_verify(VerifyCallback callback);
  void on_key_log(KeyLogCallback callback);
  void on_message(MessageCallback callback);
  void on_psk_client(PskClientCallback callback);
  void on_psk_server(PskServerCallback callback);
  void on_new_session(NewSessionCallback callback);  // Clients.
  // Servers. Only `remove` and `on_error` may be empty. As with set_ticket_keys(), sharing a store
  // is not enough. Instead of tickets, and so of set_ticket_keys() and on_ticket_keys().
  Result<void> set_session_store(SessionStore store);
  // Clients: keeps sessions and offers them by itself to the server that they are from, wherever
  // StreamOptions::session has none: the newest that is still good, in TLS 1.3 each once. Sessions
  // are told apart as in heddle/tls/session.h, and by StreamOptions::session_scope; connections
  // with neither a server name nor a scope are not kept. A session of TLS 1.2 is forgotten if the
  // handshake that offers it fails. Streams of all threads share the cache. Called again, it
  // begins anew. Fails with kInvalid for an adopted SSL_CTX, and if a number is 0.
  Result<void> set_session_cache(const SessionCache& cache);
  // Servers. Instead of set_ticket_keys() and set_session_store(). Not empty.
  Result<void> on_ticket_keys(TicketKeysCallback callback);

  // Appends the key log to a file, which is made for its owner alone (mode 0600). Lines that
  // cannot be written are lost. Fails with kInvalid if the file cannot be opened.
  Result<void> set_key_log_file(const std::filesystem::path& file);
  // Whether the kernel does the encryption of streams over TCP sockets (default kOff):
  // heddle/tls/ktls.h has what that takes, and why it is not the default. Fails with kInvalid if
  // kOn is asked for and this process cannot have it; whether a connection can, its handshake
  // tells. Also beside set_record_padding(). Streams made before keep what they have.
  Result<void> set_kernel_tls(KernelTls mode);
  KernelTls kernel_tls() const;

  Role role() const;

  // For what has no call here. Stays owned by the Context.
  SSL_CTX* native_handle() const noexcept;

 private:
  friend class HelloAnswer;
  friend class Stream;
  friend class SslObject;
  friend struct NakedConnection;
  explicit Context(std::shared_ptr<tls::ContextState> state);

  std::shared_ptr<tls::ContextState> state_;  // Of the SSL_CTX, and keeps that alive.
};

}  // namespace heddle
