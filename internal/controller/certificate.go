package controller

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"understudy/internal/dr"
)

// Files in the data folder, when the API is served with TLS.
const (
	CertificateFile = "tls.crt" // what it is served with; the command line takes no other
	certificateKey  = "tls.key" // of the certificate that the controller made
)

// A certificate that the controller made lives for certificateLife, and is made anew certificateRenew before its end.
const (
	certificateLife  = 2 * 365 * 24 * time.Hour
	certificateRenew = 30 * 24 * time.Hour
)

// MadeCertificate keeps a certificate that is signed by itself. Its key stays the same, so that being killed between
// writing one file and the other leaves nothing that does not fit.
type MadeCertificate struct {
	dir   string
	names []string // hosts and addresses
	now   func() time.Time

	mu   sync.Mutex
	kept *tls.Certificate
}

// MakeCertificate returns the certificate of the data folder, a new one when there is none, when it nears its end, or when
// it lacks one of the names.
func (c *Controller) MakeCertificate(names []string) (*MadeCertificate, error) {
	m := &MadeCertificate{dir: c.cfg.Dir, names: names, now: c.cfg.Now}
	if _, err := m.Get(nil); err != nil {
		return nil, err
	}
	return m, nil
}

// Get returns the certificate for a handshake. One that nears its end while it cannot be replaced is still good.
func (m *MadeCertificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept != nil && m.good(m.kept.Leaf) {
		return m.kept, nil
	}
	cert, err := m.load()
	if err != nil && m.kept == nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	if err == nil {
		m.kept = cert
	}
	return m.kept, nil
}

func (m *MadeCertificate) load() (*tls.Certificate, error) {
	key, err := m.key()
	if err != nil {
		return nil, err
	}
	if data, err := os.ReadFile(filepath.Join(m.dir, CertificateFile)); err == nil {
		if leaf := first(data); leaf != nil && key.PublicKey.Equal(leaf.PublicKey) && m.good(leaf) {
			return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// It signs nothing else: whoever comes to trust it trusts this controller only.
	template := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{"Understudy"}, CommonName: m.names[0]},
		NotBefore: m.now().Add(-time.Hour), NotAfter: m.now().Add(certificateLife), // clocks differ
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	for _, name := range m.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	cert := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	return cert, writeCertificate(m.dir, *cert)
}

// good reports whether a certificate may go on.
func (m *MadeCertificate) good(leaf *x509.Certificate) bool {
	now := m.now()
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter.Add(-certificateRenew)) {
		return false
	}
	for _, name := range m.names {
		if leaf.VerifyHostname(name) != nil {
			return false
		}
	}
	return true
}

// key reads the key, or makes one. A file that holds something else is left alone.
func (m *MadeCertificate) key() (*ecdsa.PrivateKey, error) {
	file := filepath.Join(m.dir, certificateKey)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		return key, writeFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(data); block != nil {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if key, ok := key.(*ecdsa.PrivateKey); ok {
				return key, nil
			}
		}
	}
	return nil, dr.WithHint(fmt.Errorf("%s holds no key for ECDSA", file), dr.KindCorrupt, "move it away: a new one is made")
}

// first is the first certificate of a PEM file, nil when there is none.
func first(data []byte) *x509.Certificate {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return leaf
}

// WriteCertificate says in the data folder what the API is served with.
func (c *Controller) WriteCertificate(cert tls.Certificate) error {
	return writeCertificate(c.cfg.Dir, cert)
}

func writeCertificate(dir string, cert tls.Certificate) error {
	var data []byte
	for _, der := range cert.Certificate {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return writeFile(filepath.Join(dir, CertificateFile), data)
}

// Fingerprint is the SHA-256 of a certificate, as browsers show it.
func Fingerprint(cert *tls.Certificate) string {
	sum := sha256.Sum256(cert.Certificate[0])
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}
