package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"net/url"
	"os"
	"strings"
	"time"
)

func (s Sender) mail(ctx context.Context, c Channel, secret string, e Event) (err error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return err
	}
	config := &tls.Config{ServerName: u.Hostname()}
	if s.TLS != nil {
		config = s.TLS.Clone()
		config.ServerName = u.Hostname()
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if u.Scheme == "smtps" {
		conn = tls.Client(conn, config)
	}
	m, err := smtp.NewClient(conn, u.Hostname())
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	defer func() { _ = m.Close() }() // after Quit it is closed
	if name, err := os.Hostname(); err == nil && name != "" {
		if err := m.Hello(name); err != nil {
			return err
		}
	}
	if ok, _ := m.Extension("STARTTLS"); ok && u.Scheme == "smtp" {
		if err := m.StartTLS(config); err != nil {
			return err
		}
	}
	if c.User != "" {
		if err := m.Auth(smtp.PlainAuth("", c.User, secret, u.Hostname())); err != nil {
			return err
		}
	}
	from, err := mail.ParseAddress(c.From)
	if err != nil {
		return err
	}
	if err := m.Mail(from.Address); err != nil {
		return err
	}
	for _, to := range c.To {
		a, err := mail.ParseAddress(to)
		if err != nil {
			return err
		}
		if err := m.Rcpt(a.Address); err != nil {
			return err
		}
	}
	w, err := m.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(message(c, e)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		if p := (*textproto.Error)(nil); errors.As(err, &p) && p.Code >= 500 {
			return &refusal{text: err.Error(), itself: true}
		}
		return err
	}
	_ = m.Quit() // it is taken, whatever comes of this
	return nil
}

// message is an event as a mail. What repeats or ends a problem answers the mail that told of it first, so that mail
// programs show them together.
func message(c Channel, e Event) []byte {
	oneLine := strings.NewReplacer("\r", " ", "\n", " ")
	to := make([]string, len(c.To))
	for i, a := range c.To {
		to[i] = address(a)
	}
	headers := [][2]string{
		{"From", address(c.From)}, {"To", strings.Join(to, ", ")}, {"Date", e.Time.Format(time.RFC1123Z)},
		{"Message-ID", messageID(e.ID)}, {"Subject", mime.QEncoding.Encode("utf-8", e.Title())},
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"},
	}
	if e.Ends != "" {
		headers = append(headers, [2]string{"In-Reply-To", messageID(e.Ends)}, [2]string{"References", messageID(e.Ends)})
	}
	if e.Severity == Critical && e.Kind != Resolved && e.Kind != Success {
		headers = append(headers, [2]string{"Importance", "high"})
	}
	var b bytes.Buffer
	for _, h := range headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], oneLine.Replace(h[1]))
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	_, _ = io.WriteString(w, e.plain()) // a buffer takes everything
	_ = w.Close()
	return b.Bytes()
}

// address is an address as headers have it.
func address(a string) string {
	if parsed, err := mail.ParseAddress(a); err == nil {
		return parsed.String()
	}
	return a
}

func messageID(id string) string { return "<" + id + "@understudy>" }

// plain is an event as text.
func (e Event) plain() string {
	parts := []string{e.Subject}
	if e.Text != "" {
		parts = append(parts, e.Text)
	}
	if len(e.Next) > 0 {
		parts = append(parts, "What to do:\n    "+strings.Join(e.Next, "\n    "))
	}
	if e.Link != "" {
		parts = append(parts, e.Link)
	}
	var facts strings.Builder
	for _, f := range e.facts() {
		facts.WriteString(f[0] + ": " + f[1] + "\n")
	}
	return strings.Join(append(parts, facts.String()+e.Source+", "+e.Time.UTC().Format(time.RFC3339)+", "+e.ID), "\n\n") + "\n"
}
