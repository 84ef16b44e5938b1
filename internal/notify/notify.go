// Package notify tells people and other programs what happened: by webhooks and by mail. What is to be told is kept by the
// caller until it was taken, so that nothing is lost by a restart; something may arrive twice, with the same ID.
package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/mail"
	"net/smtp"
	"net/url"
	"strings"
	"time"

	"understudy/internal/dr"
)

// Kind classes an event.
type Kind string

// Kinds of event.
const (
	Information Kind = "information"
	Success     Kind = "success"
	Failure     Kind = "failure"
	Problem     Kind = "problem" // a person is needed
	Resolved    Kind = "resolved"
)

// An Event is something to tell.
type Event struct {
	ID      string    `json:"id"` // the same however often it is sent
	Time    time.Time `json:"time"`
	Source  string    `json:"source"`
	Kind    Kind      `json:"kind"`
	Subject string    `json:"subject"`
	Text    string    `json:"text,omitempty"`
}

// Kinds of channel.
const (
	Webhook = "webhook"
	SMTP    = "smtp"
)

// A Channel is whom to tell.
type Channel struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // webhook or smtp

	URL string `json:"url,omitempty"` // of a webhook; of a mail server: smtp://HOST:PORT or smtps://HOST:PORT
	// Secret is a reference, env:NAME or file:PATH, to what signs webhooks, or to the password of the mail server.
	Secret string   `json:"secret,omitempty"`
	User   string   `json:"user,omitempty"` // of the mail server
	From   string   `json:"from,omitempty"`
	To     []string `json:"to,omitempty"`
}

// Check says what is wrong with a channel.
func (c Channel) Check() error {
	bad := func(hint, format string, args ...any) error {
		return dr.WithHint(fmt.Errorf("channel %s: %w", c.Name, fmt.Errorf(format, args...)), dr.KindInvalid, hint)
	}
	u, err := url.Parse(c.URL)
	if c.Name == "" || strings.ContainsAny(c.Name, "/ \t\n") {
		return bad("use letters, digits and '-'", "%q is no name", c.Name)
	}
	switch c.Kind {
	case Webhook:
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return bad("--url https://HOST/PATH", "%q is no http URL", c.URL)
		}
	case SMTP:
		if err != nil || u.Scheme != "smtp" && u.Scheme != "smtps" || u.Port() == "" {
			return bad("--url smtp://HOST:587 or smtps://HOST:465", "%q is no mail server", c.URL)
		}
		if len(c.To) == 0 {
			return bad("--to ADDRESS", "nobody is to get the mail")
		}
		for _, a := range append([]string{c.From}, c.To...) {
			if _, err := mail.ParseAddress(a); err != nil {
				return bad("--from understudy@example.com --to ops@example.com", "%q is no mail address", a)
			}
		}
	default:
		return bad("webhook or smtp", "kind %q is not known", c.Kind)
	}
	return nil
}

// A Sender sends events. Its methods may be called from many goroutines at once.
type Sender struct {
	Client *http.Client                           // http.DefaultClient when nil
	Secret func(reference string) (string, error) // reads what a channel refers to
	TLS    *tls.Config                            // for mail servers; nil for the system's roots
}

// sendTime is how long one channel may take.
const sendTime = 30 * time.Second

// Send sends an event to a channel, once.
func (s Sender) Send(ctx context.Context, c Channel, e Event) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	secret := ""
	if c.Secret != "" {
		var err error
		if secret, err = s.Secret(c.Secret); err != nil {
			return fmt.Errorf("notify %s: %w", c.Name, err)
		}
	}
	send := s.webhook
	if c.Kind == SMTP {
		send = s.mail
	}
	if err := send(ctx, c, secret, e); err != nil {
		return dr.WithHint(fmt.Errorf("notify %s: %w", c.Name, err), dr.KindUnavailable, "understudy notify test "+c.Name)
	}
	return nil
}

// SignatureHeader holds sha256=HEX of HMAC-SHA256 of the body, keyed with the channel's secret.
const SignatureHeader = "X-Understudy-Signature"

// Sign is the value of SignatureHeader.
func Sign(secret string, body []byte) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write(body)
	return "sha256=" + hex.EncodeToString(m.Sum(nil))
}

func (s Sender) webhook(ctx context.Context, c Channel, secret string, e Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", e.ID)
	if secret != "" {
		req.Header.Set(SignatureHeader, Sign(secret, body))
	}
	client := s.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 300)) // only for the error
	err = resp.Body.Close()
	if resp.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s", resp.Status, strings.Join(strings.Fields(string(text)), " "))
	}
	return err
}

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
		return err
	}
	return m.Quit()
}

// message is an event as a mail.
func message(c Channel, e Event) []byte {
	oneLine := strings.NewReplacer("\r", " ", "\n", " ")
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", c.From}, {"To", strings.Join(c.To, ", ")}, {"Date", e.Time.Format(time.RFC1123Z)},
		{"Message-ID", "<" + e.ID + "@understudy>"}, {"Subject", mime.QEncoding.Encode("utf-8", "["+string(e.Kind)+"] "+oneLine.Replace(e.Subject))},
		{"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "8bit"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], oneLine.Replace(h[1]))
	}
	b.WriteString("\r\n")
	for line := range strings.SplitSeq(e.Subject+"\n\n"+e.Text+"\n\n"+e.Source+", "+e.Time.Format(time.RFC3339)+", "+e.ID, "\n") {
		b.WriteString(line + "\r\n")
	}
	return b.Bytes()
}
