package client

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"

	"understudy/internal/dr"
)

// NewTLS returns a client that trusts controllers as Roots or Only says.
func NewTLS(base, token string, trust *tls.Config) *Client {
	c := New(base, token)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = trust
	c.http.Transport = transport
	return c
}

// Roots trusts certificates, and what they signed, by their names. They are PEM.
func Roots(certificates []byte) (*tls.Config, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(certificates) {
		return nil, errors.New("no certificate in PEM")
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// Only trusts one certificate, the first in a PEM file, whatever its names are and whoever signed it.
func Only(certificate []byte) (*tls.Config, error) {
	block, _ := pem.Decode(certificate)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in PEM")
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection is stricter
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !bytes.Equal(s.PeerCertificates[0].Raw, block.Bytes) {
				return dr.WithHint(errors.New("its certificate is not the one in the controller's data folder"), dr.KindUnavailable,
					"does another program listen there? Restart the controller: understudy serve")
			}
			return nil
		},
	}, nil
}

// reachHint says what helps when the controller cannot be reached.
func reachHint(err error) string {
	var verification *tls.CertificateVerificationError
	var name x509.HostnameError
	switch {
	case dr.Hint(err) != "":
		return dr.Hint(err)
	case errors.As(err, &name):
		return "use a name that its certificate has, or serve with --tls-name " + name.Host
	case errors.As(err, &verification):
		return "give the file tls.crt of the controller's data folder, or what signed its certificate, with --ca-file or UNDERSTUDY_CA_FILE"
	case errors.Is(err, http.ErrSchemeMismatch):
		return "it is served without TLS: use http:// in --api"
	}
	return "start it: understudy serve"
}
