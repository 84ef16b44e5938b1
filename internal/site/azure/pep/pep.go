// Package pep asks the privileged endpoint of an Azure Stack Hub how its update stands. It is what still answers while
// the administrator's API does not: a PowerShell session with few commands on each of three machines (ERCS), of which
// some are restarted while an update goes on. PowerShell's protocol ([MS-PSRP]) is carried by WSMan ([MS-WSMV]) over
// HTTP, sealed by NTLM ([MS-NLMP]).
package pep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// Numbers that bound an attempt.
const (
	port            = "5985"
	defaultPatience = 20 * time.Second
	rounds          = 2                // over all hosts, while each drops the session
	farewell        = 5 * time.Second  // for the end of a session
	coolDown        = 15 * time.Minute // after a refused password: the account must not be locked out
	statusCommand   = "Get-AzureStackUpdateStatus"
)

// Config of a Client.
type Config struct {
	Hosts    []string               // HOST or HOST:PORT; 5985 when there is no port
	User     string                 // DOMAIN\NAME, or NAME@DOMAIN
	Secret   func() (string, error) // the password
	Patience time.Duration          // that a host may take for one answer; 20 s when 0
	Now      func() time.Time
}

// Validate says what is wrong with a configuration.
func (c Config) Validate() error {
	switch {
	case len(c.Hosts) == 0 || slices.Contains(c.Hosts, ""):
		return dr.WithHint(errors.New("the privileged endpoint has no hosts"), dr.KindInvalid, "--set pep=HOST,HOST,HOST")
	case c.User == "" || c.Secret == nil:
		return dr.WithHint(errors.New("the privileged endpoint has no user"), dr.KindInvalid, `--set 'pep-user=DOMAIN\cloudadmin' --set pep-secret=file:/PATH`)
	}
	return nil
}

// A Status is how the update stands that goes on, or was the last.
type Status struct {
	Host  string // that told
	State string // Running, Completed, Failed or Canceled
	Steps []site.Step
}

// A Client asks the hosts of one endpoint. Its methods may be called from many goroutines at once.
type Client struct {
	cfg Config
	one chan struct{} // holds who asks: the endpoint allows few sessions

	// Below only by who asks.
	first   int       // host that answered last
	refused string    // password that was refused
	until   time.Time // when it may be tried again
}

// New returns a client. It asks nothing yet.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Patience = cmp.Or(cfg.Patience, defaultPatience)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Client{cfg: cfg, one: make(chan struct{}, 1)}, nil
}

// Status asks how the update stands. It tries each host in turn, beginning with the one that answered last, and each
// once more when none did. A refused password ends it: other hosts know no other one.
func (c *Client) Status(ctx context.Context) (Status, error) {
	select {
	case c.one <- struct{}{}:
		defer func() { <-c.one }()
	case <-ctx.Done():
		return Status{}, context.Cause(ctx)
	}
	password, err := c.cfg.Secret()
	if err != nil {
		return Status{}, fmt.Errorf("read the password of the privileged endpoint: %w", err)
	}
	if now := c.cfg.Now(); password == c.refused && now.Before(c.until) {
		return Status{}, refusal(c.cfg.User, fmt.Errorf("%w; it is not tried again before %s", errRefused, c.until.UTC().Format(time.RFC3339)))
	}
	problems := make([]error, len(c.cfg.Hosts))
	for i := range rounds * len(c.cfg.Hosts) {
		at := (c.first + i) % len(c.cfg.Hosts)
		asking, cancel := share(ctx, len(c.cfg.Hosts)-i)
		status, err := c.ask(asking, c.cfg.Hosts[at], password)
		cancel()
		if err == nil {
			c.first, c.refused = at, ""
			return status, nil
		}
		problems[at] = fmt.Errorf("%s: %w", c.cfg.Hosts[at], err)
		if errors.Is(err, errRefused) {
			c.refused, c.until = password, c.cfg.Now().Add(coolDown)
			return Status{}, refusal(c.cfg.User, problems[at])
		}
		if ctx.Err() != nil {
			break
		}
	}
	return Status{}, dr.WithHint(errors.New(oneLine(problems)), dr.KindUnavailable, "see that WinRM (5985) of an ERCS machine can be reached from here; they restart while an update goes on")
}

// share is the time of one of some hosts: one whose command never ends leaves time for the others.
func share(ctx context.Context, hosts int) (context.Context, context.CancelFunc) {
	until, bounded := ctx.Deadline()
	if !bounded || hosts <= 1 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(until)/time.Duration(hosts))
}

func refusal(user string, err error) error {
	return dr.WithHint(fmt.Errorf("log in as %s: %w", user, err), dr.KindInvalid, "--set pep-user=... --set pep-secret=...: a member of CloudAdmins")
}

// oneLine says what each host said.
func oneLine(problems []error) string {
	var texts []string
	for _, p := range problems {
		if p != nil {
			texts = append(texts, p.Error())
		}
	}
	return strings.Join(texts, "; ")
}

// ask has a session with one host.
func (c *Client) ask(ctx context.Context, host, password string) (_ Status, err error) {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), port)
	}
	ch, err := openChannel(ctx, host, c.cfg, password)
	if err != nil {
		return Status{}, err
	}
	defer ch.close()
	s := newShell(ch, c.cfg)
	defer c.leave(ctx, s, host, password)
	if err := s.open(ctx); err != nil {
		return Status{}, denied(err)
	}
	state, err := s.run(ctx, statusCommand, "StatusOnly")
	if err != nil {
		return Status{}, err
	}
	status := Status{Host: host}
	for _, object := range state {
		if status.State = cmp.Or(textOf(property(object, "Value")), textOf(object)); status.State != "" {
			break
		}
	}
	if status.State == "" {
		return Status{}, fmt.Errorf("%s -StatusOnly told nothing", statusCommand)
	}
	document, err := s.run(ctx, statusCommand)
	if err != nil {
		return Status{}, err
	}
	for _, object := range document {
		if text := textOf(object); strings.Contains(text, "<") {
			status.Steps, err = Parse(text)
			return status, err
		}
	}
	return status, nil
}

// leave ends a session. A host keeps one that nobody ended for hours, and allows few; one that restarted has none left.
// What was asked last may not have been answered, and no second question fits on its connection: then it takes another.
func (c *Client) leave(ctx context.Context, s *shell, host, password string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(farewell, c.cfg.Patience))
	defer cancel()
	err := s.remove(ctx)
	var answered *fault
	if err == nil || errors.As(err, &answered) {
		return
	}
	if ch, err := openChannel(ctx, host, c.cfg, password); err == nil {
		defer ch.close()
		s.channel = ch
		_ = s.remove(ctx) // nothing more can be done
	}
}

// denied tells a user who may not use the endpoint from other faults.
func denied(err error) error {
	var f *fault
	if errors.As(err, &f) && f.code == codeDenied {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	return err
}
