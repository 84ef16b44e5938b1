package cli

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"understudy/internal/controller"
	"understudy/internal/dr"
)

// tlsFlags say how the API is encrypted.
type tlsFlags struct {
	mode      string // auto, on or off
	cert, key string // files, when the certificate is not made
	names     []string
}

func (f *tlsFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.mode, "tls", "auto", "serve with TLS: on, off, or auto, which is on unless it listens on a loopback address or is --behind-tls")
	cmd.Flags().StringVar(&f.cert, "tls-cert", "", "file with the certificate to serve with, and what signed it (default: one is made)")
	cmd.Flags().StringVar(&f.key, "tls-key", "", "file with the key of --tls-cert")
	cmd.Flags().StringArrayVar(&f.names, "tls-name", nil, "a host name or address by which others reach this controller, for the certificate that is made (repeatable)")
}

// load checks the flags, and reads the certificate that was given, nil when one is to be made.
func (f *tlsFlags) load() (*tls.Certificate, error) {
	switch {
	case !slices.Contains([]string{"auto", "on", "off"}, f.mode):
		return nil, invalid("--tls auto, on or off", "unknown mode of TLS %q", f.mode)
	case (f.cert == "") != (f.key == ""):
		return nil, invalid("--tls-cert FILE --tls-key FILE", "a certificate and its key are given together")
	case f.cert != "" && f.mode == "off":
		return nil, invalid("leave --tls off away, or --tls-cert", "--tls off serves without a certificate")
	case f.cert != "" && len(f.names) > 0:
		return nil, invalid("leave --tls-name away", "names are for a certificate that is made; that of --tls-cert has its own")
	}
	for _, name := range f.names {
		if name == "" || strings.ContainsAny(name, "/: \t") && net.ParseIP(name) == nil {
			return nil, invalid("--tls-name understudy.example.com", "%q is no host name or address", name)
		}
	}
	if f.cert == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, invalid("both files are PEM: --tls-cert has the certificate first and then what signed it, --tls-key its key without a password",
			"read the certificate %s with the key %s: %w", f.cert, f.key, err)
	}
	return &cert, nil
}

// wanted reports whether to serve with TLS at an address.
func (f *tlsFlags) wanted(at *net.TCPAddr, behind bool) bool {
	return f.mode == "on" || f.cert != "" || f.mode == "auto" && !behind && !at.IP.IsLoopback()
}

// config is how to serve with TLS, with the given certificate or one that is made. It is in the data folder when config returns.
func (f *tlsFlags) config(c *controller.Controller, given *tls.Certificate, at *net.TCPAddr, now time.Time, log *slog.Logger) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	cert := given
	if given != nil {
		config.Certificates = []tls.Certificate{*given}
		if err := c.WriteCertificate(*given); err != nil {
			return nil, fmt.Errorf("write the certificate: %w", err)
		}
	} else {
		names, err := f.hosts(at)
		if err != nil {
			return nil, err
		}
		made, err := c.MakeCertificate(names)
		if err != nil {
			return nil, err
		}
		if cert, err = made.Get(nil); err != nil {
			return nil, err
		}
		config.GetCertificate = made.Get
	}
	log.Info("certificate", "sha256", controller.Fingerprint(cert), "until", cert.Leaf.NotAfter, "names", cert.Leaf.DNSNames, "addresses", cert.Leaf.IPAddresses)
	// A controller is needed most on the day when nobody thought of its certificate.
	if now.After(cert.Leaf.NotAfter) {
		log.Warn("the certificate has ended: browsers and remote command lines refuse it", "file", f.cert, "ended", cert.Leaf.NotAfter)
	}
	return config, nil
}

// hosts are the names of a certificate that is made. Addresses of IPv6 that the machine gives itself change, and would
// make a new certificate at every start.
func (f *tlsFlags) hosts(at *net.TCPAddr) ([]string, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find the name of this machine: %w", err)
	}
	names := append(slices.Clone(f.names), host, "localhost", "127.0.0.1", "::1")
	if !at.IP.IsUnspecified() {
		if own := at.IP.String(); !slices.Contains(names, own) {
			names = append(names, own)
		}
		return names, nil
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, dr.WithHint(fmt.Errorf("find the addresses of this machine: %w", err), dr.KindUnavailable, "name one with --listen ADDRESS:PORT")
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && ip.IP.IsGlobalUnicast() {
			names = append(names, ip.IP.String())
		}
	}
	return names, nil
}

// apiURL is where the command line of this machine reaches the API.
func apiURL(at *net.TCPAddr, secure bool) string {
	scheme, local := "http://", *at
	if secure {
		scheme = "https://"
	}
	if at.IP.IsUnspecified() {
		local.IP = net.IPv4(127, 0, 0, 1)
	}
	return scheme + local.String()
}
