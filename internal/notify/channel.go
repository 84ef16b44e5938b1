package notify

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/mail"
	"net/url"
	"strings"
	"time"

	"understudy/internal/dr"
)

// Kinds of channel.
const (
	Webhook = "webhook"
	SMTP    = "smtp"
	Slack   = "slack" // an incoming webhook of Slack
	Teams   = "teams" // a webhook of a workflow of Microsoft Teams
)

// A Channel is whom to tell.
type Channel struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // webhook, smtp, slack or teams

	URL string `json:"url,omitempty"` // of a webhook; of a mail server: smtp://HOST:PORT or smtps://HOST:PORT
	// Secret is a reference, env:NAME or file:PATH, to what signs webhooks, to the password of the mail server, or to the
	// URL of Slack or Teams, which lets its bearer write there.
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
	if !goodName(c.Name) {
		return bad("use letters, digits and '-'", "%q is no name", c.Name)
	}
	if kind, name, _ := strings.Cut(c.Secret, ":"); c.Secret != "" && (kind != "env" && kind != "file" || name == "") {
		return bad("--secret env:NAME or file:PATH", "its secret is not a reference") // and is repeated nowhere, since it may be the secret itself
	}
	switch c.Kind {
	case Slack, Teams:
		if c.URL == "" && c.Secret != "" {
			break
		}
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || c.Secret != "" {
			return bad("--secret file:PATH with the URL in the file, or --url https://HOST/PATH", "it needs the address that %s gave", c.Kind)
		}
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
		return bad("webhook, smtp, slack or teams", "kind %q is not known", c.Kind)
	}
	return nil
}

// A Sender sends events. Its methods may be called from many goroutines at once.
type Sender struct {
	Client  *http.Client                           // NewClient() when nil
	Secret  func(reference string) (string, error) // reads what a channel refers to
	TLS     *tls.Config                            // for mail servers; nil for the system's roots
	Now     func() time.Time                       // time.Now when nil
	Console string                                 // address of the console, for links
}

// sendTime is how long one channel may take.
const sendTime = 30 * time.Second

// Send sends an event to a channel, once.
func (s Sender) Send(ctx context.Context, c Channel, e Event) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	if s.Now == nil {
		s.Now = time.Now
	}
	secret := ""
	if c.Secret != "" {
		var err error
		if secret, err = s.Secret(c.Secret); err != nil {
			return fmt.Errorf("notify %s: %w", c.Name, err)
		}
	}
	e = e.linked(s.Console)
	var err error
	switch c.Kind {
	case SMTP:
		err = s.mail(ctx, c, secret, e)
	case Slack:
		err = s.post(ctx, cmp.Or(c.URL, secret), slackMessage(e), nil)
	case Teams:
		err = s.post(ctx, cmp.Or(c.URL, secret), teamsMessage(e), nil)
	default:
		err = s.webhook(ctx, c, secret, e)
	}
	if err != nil {
		return dr.WithHint(fmt.Errorf("notify %s: %w", c.Name, err), dr.KindUnavailable, "understudy notify test "+c.Name)
	}
	return nil
}

// A refusal is the answer of a receiver that does not take an event.
type refusal struct {
	text   string
	itself bool          // it is this event that is refused: another may be taken
	after  time.Duration // after which it may be sent again; 0 when that was not said
}

func (r *refusal) Error() string { return r.text }

// Unacceptable reports whether an event was refused for what it is, so that to send it again is of no use.
func Unacceptable(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.itself
}

// RetryAfter is how long the receiver asked to wait before it is sent anything again, or 0.
func RetryAfter(err error) time.Duration {
	var r *refusal
	if errors.As(err, &r) {
		return r.after
	}
	return 0
}
