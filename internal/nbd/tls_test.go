package nbd_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"understudy/internal/nbd"
	"understudy/test/need"
)

// certificate returns a certificate for localhost, self-signed, and the same as PEM.
func certificate(t testing.TB) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestTLS(t *testing.T) {
	cert, ca := certificate(t)
	d := &pattern{size: 3 << 20}
	_, socket := serve(t, nbd.ServerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}, nbd.Export{Device: d})
	secure := "nbds" + strings.TrimPrefix(nbd.URI(socket, ""), "nbd")

	if _, err := nbd.Dial(t.Context(), nbd.URI(socket, ""), nbd.DialOptions{}); err == nil || !strings.Contains(err.Error(), "requires TLS") {
		t.Errorf("without TLS: %v", err)
	}
	if _, err := nbd.Dial(t.Context(), secure, nbd.DialOptions{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with an unknown certificate: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	c := dial(t, secure, nbd.DialOptions{TLS: &tls.Config{RootCAs: pool}, Connections: 2, MetaContexts: []string{nbd.MetaAllocation}})
	p := make([]byte, d.size)
	if _, err := c.ReadAt(p, 0); err != nil || string(p) != string(d.bytes()) {
		t.Errorf("read over TLS: %v", err)
	}
	if x, err := c.Extents(t.Context(), 0, d.size); err != nil || len(x) != 3 {
		t.Errorf("extents over TLS: %v, %v", x, err)
	}

	need.Tool(t, "nbdinfo")
	certs := t.TempDir()
	if err := os.WriteFile(filepath.Join(certs, "ca-cert.pem"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "nbdinfo", "--size", secure+"&tls-certificates="+certs); strings.TrimSpace(got) != "3145728" {
		t.Errorf("nbdinfo over TLS: %s", got)
	}
}
