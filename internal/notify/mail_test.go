package notify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"understudy/internal/dr"
)

// post is a mail server that keeps what it gets.
type post struct {
	refuse error
	mails  chan []byte
	from   string
	to     []string
	user   string
}

func (p *post) NewSession(*smtp.Conn) (smtp.Session, error) { return &delivery{p: p}, nil }

type delivery struct {
	p        *post
	from     string
	to       []string
	user     string
	loggedIn bool
}

func (d *delivery) AuthMechanisms() []string { return []string{sasl.Plain} }

func (d *delivery) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "understudy" || password != "s3cret" {
			return smtp.ErrAuthFailed
		}
		d.user, d.loggedIn = user, true
		return nil
	}), nil
}

func (d *delivery) Mail(from string, _ *smtp.MailOptions) error { d.from = from; return nil }

func (d *delivery) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "unknown"}
	}
	d.to = append(d.to, to)
	return nil
}

func (d *delivery) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil || d.p.refuse != nil {
		return errors.Join(err, d.p.refuse)
	}
	d.p.from, d.p.to, d.p.user = d.from, d.to, d.user
	d.p.mails <- data
	return nil
}

func (*delivery) Reset()        {}
func (*delivery) Logout() error { return nil }

// certificate is one for 127.0.0.1, and the roots that trust it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// mailServer serves SMTP: with STARTTLS, or with TLS from the beginning.
func mailServer(t *testing.T, cert tls.Certificate, implicit bool) (address string, p *post) {
	t.Helper()
	p = &post{mails: make(chan []byte, 1)}
	s := smtp.NewServer(p)
	s.Domain, s.TLSConfig = "mail.example", &tls.Config{Certificates: []tls.Certificate{cert}}
	s.ErrorLog = discard{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if implicit {
		l = tls.NewListener(l, s.TLSConfig)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return l.Addr().String(), p
}

type discard struct{}

func (discard) Printf(string, ...any) {}
func (discard) Println(...any)        {}

// TestMail sends to a real mail server, with STARTTLS, with TLS and a password.
func TestMail(t *testing.T) {
	cert, roots := certificate(t)
	s := sender()
	s.TLS = &tls.Config{RootCAs: roots}
	for _, scheme := range []string{"smtp", "smtps"} {
		address, p := mailServer(t, cert, scheme == "smtps")
		c := Channel{Name: "mail", Kind: SMTP, URL: scheme + "://" + address, User: "understudy", Secret: "env:HOOK", From: "Doublure réseau <understudy@example.com>",
			To: []string{"ops@example.com", "On Call <oncall@example.com>"}}
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		if err := s.Send(t.Context(), c, event); err != nil {
			t.Fatalf("%s: %v", scheme, err)
		}
		data := <-p.mails
		m, err := mail.ReadMessage(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
		if err != nil {
			t.Fatal(err)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
		if err != nil || subject != "[still critical] shop would lose 2h & more: réussi Bcc: evil@example.com" {
			t.Errorf("subject %q %v", subject, err)
		}
		for header, want := range map[string]string{"Bcc": "", "Message-Id": "<lag-shop-1-2@understudy>", "In-Reply-To": "<lag-shop-1-1@understudy>", "References": "<lag-shop-1-1@understudy>",
			"Auto-Submitted": "auto-generated", "Importance": "high",
			"From": "=?utf-8?q?Doublure_r=C3=A9seau?= <understudy@example.com>", "To": `<ops@example.com>, "On Call" <oncall@example.com>`} {
			if got := m.Header.Get(header); got != want {
				t.Errorf("%s: %s %q, want %q", scheme, header, got, want)
			}
		}
		for _, want := range []string{"What to do:\r\n    understudy status shop\r\n    understudy resume shop", "https://console.example/groups/shop", "Group: shop\r\nWould be lost: 2h\r\nSites: east, west", "réussi"} {
			if !strings.Contains(string(body), want) {
				t.Errorf("%s: no %q in\n%s", scheme, want, body)
			}
		}
		if p.from != "understudy@example.com" || strings.Join(p.to, " ") != "ops@example.com oncall@example.com" || p.user != "understudy" {
			t.Errorf("%s: from %s to %v by %s", scheme, p.from, p.to, p.user)
		}
		for line := range bytes.Lines(data) {
			if len(line) > 998 || bytes.ContainsFunc(line, func(r rune) bool { return r > 126 }) {
				t.Errorf("%s: a line that not every server takes: %q", scheme, line)
			}
		}

		c.To = []string{"nobody@example.com"}
		if err := s.Send(t.Context(), c, event); dr.KindOf(err) != dr.KindUnavailable || !strings.Contains(err.Error(), "unknown") || Unacceptable(err) {
			t.Errorf("an unknown receiver: %v", err)
		}
		c.To = []string{"ops@example.com"}
		p.refuse = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "looks like spam"}
		if err := s.Send(t.Context(), c, event); !Unacceptable(err) || !strings.Contains(err.Error(), "spam") {
			t.Errorf("a mail that is refused: %v", err)
		}
		c.User = "other"
		if err := s.Send(t.Context(), c, event); err == nil || Unacceptable(err) {
			t.Errorf("a wrong user: %v", err)
		}
		if err := sender().Send(t.Context(), c, event); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("a server that nobody vouches for: %v", err)
		}
	}
}
