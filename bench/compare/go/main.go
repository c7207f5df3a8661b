// Command main is a contestant of compare.py: the same server with Go's net/http. Arguments: CERTIFICATE KEY.
package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func answer(body []byte) http.HandlerFunc {
	return func(writer http.ResponseWriter, request *http.Request) {
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			return
		}
		count, err := strconv.Atoi(strings.TrimPrefix(request.URL.Path, "/"))
		if err != nil || count < 0 || count > len(body) {
			http.Error(writer, "no such answer", http.StatusNotFound)
			return
		}
		writer.Header().Set("Content-Length", strconv.Itoa(count))
		writer.Header().Set("Content-Type", "application/octet-stream")
		_, _ = writer.Write(body[:count])
	}
}

func main() {
	certificate, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	server := &http.Server{
		Handler:      answer(bytes.Repeat([]byte("x"), 64<<20)),
		TLSConfig:    &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ErrorLog:     log.New(io.Discard, "", 0),
	}
	log.Fatal(server.ServeTLS(listener, "", ""))
}
