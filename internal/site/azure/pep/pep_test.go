package pep

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smnsjas/go-psrpcore/objects"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/test/pepsim"
)

const document = "\ufeff<?xml version=\"1.0\" encoding=\"utf-16\"?>\r\n" + `<Action Type="Update" StartTimeUtc="2026-11-22T10:00:00.5Z" Status="Error">
  <Steps>
    <Step FullStepIndex="1" Index="1" Name="Prepare" Description="Prepare." StartTimeUtc="2026-11-22T10:00:00.5Z" EndTimeUtc="2026-11-22T10:30:00Z" Status="Success"><Task Status="Success"/></Step>
    <Step FullStepIndex="2" Index="2" Name="Cloud Update" Description="Perform cloud update." StartTimeUtc="2026-11-22T10:30:00" Status="Error">
      <Task RolePath="Cloud" Status="Error">
        <Action Type="Inner"><Steps>
          <Step FullStepIndex="2.9" Index="9" Name="Restart Storage Hosts" Status="Error" StartTimeUtc="2026-11-22T11:00:00Z" EndTimeUtc="2026-11-22T12:12:05Z">
            <Task Status="Error"><Exception><Message>host 3 did not come back &amp; was left_x</Message><StackTrace>at Restart()</StackTrace></Exception></Task>
          </Step>
          <Step FullStepIndex="2.10" Index="10" Name="Wait" Status="NotStarted"/>
        </Steps></Action>
      </Task>
    </Step>
  </Steps>
</Action>`

var login = pepsim.Options{User: "cloudadmin", Domain: "AzureStack", Password: "pässword"}

func client(t *testing.T, now *time.Time, hosts ...string) *Client {
	t.Helper()
	c, err := New(Config{Hosts: hosts, User: `azurestack\CloudAdmin`, Secret: func() (string, error) { return login.Password, nil }, Patience: 2 * time.Second,
		Now: func() time.Time { return *now }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// dead is an address at which nobody listens.
func dead(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestStatus: what a host tells arrives whole, however it is cut and however long it takes.
func TestStatus(t *testing.T) {
	now := time.Now()
	for name, play := range map[string]pepsim.Play{
		"whole":      {},
		"fragments":  {Piece: 11},
		"cut":        {Piece: 300, Cut: 97},
		"one answer": {Cut: 1 << 20},
		"slow":       {Quiet: 3},
		"object":     {Plain: true},
	} {
		t.Run(name, func(t *testing.T) {
			play.Status, play.Document = "Failed", document
			h := pepsim.Start(t, login, play)
			c := client(t, &now, h.Address)
			for range 2 {
				s, err := c.Status(t.Context())
				if err != nil || s.State != "Failed" || s.Host != h.Address || len(s.Steps) != 2 {
					t.Fatalf("%+v %v", s, err)
				}
				if path, message := site.FindStep(s.Steps, "error"); path != "Cloud Update > Restart Storage Hosts" || message != "host 3 did not come back & was left_x" {
					t.Errorf("%q %q", path, message)
				}
			}
			n := h.Counts()
			if want := []string{"Get-AzureStackUpdateStatus -StatusOnly", "Get-AzureStackUpdateStatus"}; !slices.Equal(n.Commands, append(want, want...)) {
				t.Errorf("commands %q", n.Commands)
			}
			if n.Opened != 2 || n.Ended != 2 || n.Logins != 2 || n.Refused != 0 {
				t.Errorf("%+v: a session is left", n)
			}
		})
	}
}

// TestRotate: one of three machines answers, and is asked first from then on.
func TestRotate(t *testing.T) {
	now := time.Now()
	hanging := pepsim.Start(t, login, pepsim.Play{Hang: true})
	good := pepsim.Start(t, login, pepsim.Play{Status: "Running"})
	c := client(t, &now, dead(t), hanging.Address, good.Address)
	if s, err := c.Status(t.Context()); err != nil || s.Host != good.Address || s.State != "Running" || len(s.Steps) != 0 {
		t.Fatalf("%+v %v", s, err)
	}
	hanging.Set(func(p *pepsim.Play) { p.Hang = false })
	if s, err := c.Status(t.Context()); err != nil || s.Host != good.Address {
		t.Fatalf("%+v %v", s, err)
	}
	if n := hanging.Counts(); n.Logins != 0 {
		t.Errorf("the host that hung was asked again: %+v", n)
	}
	good.Stop() // it restarts, and another takes over
	hanging.Set(func(p *pepsim.Play) { p.Status = "Completed" })
	if s, err := c.Status(t.Context()); err != nil || s.Host != hanging.Address || s.State != "Completed" {
		t.Fatalf("%+v %v", s, err)
	}
}

// TestShare: a host on which the command never ends leaves time for another.
func TestShare(t *testing.T) {
	now := time.Now()
	stuck, good := pepsim.Start(t, login, pepsim.Play{Status: "Running", Quiet: 1 << 30}), pepsim.Start(t, login, pepsim.Play{Status: "Failed"})
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	s, err := client(t, &now, stuck.Address, good.Address).Status(ctx)
	if err != nil || s.Host != good.Address {
		t.Errorf("%+v %v", s, err)
	}
	if n := stuck.Counts(); n.Opened != 1 || n.Ended != 1 {
		t.Errorf("%+v: a session is left", n)
	}
}

// TestDrop: a session that is cut, at any answer, is begun again.
func TestDrop(t *testing.T) {
	now := time.Now()
	for at := 1; ; at++ {
		h := pepsim.Start(t, login, pepsim.Play{Status: "Running", Document: document, DropAt: at})
		s, err := client(t, &now, h.Address).Status(t.Context())
		if err != nil || s.State != "Running" || len(s.Steps) != 2 {
			t.Fatalf("cut at answer %d: %+v %v", at, s, err)
		}
		n := h.Counts()
		if n.Opened != n.Ended {
			t.Errorf("cut at answer %d: %+v: a session is left", at, n)
		}
		if n.Opened == 1 {
			if at < 8 {
				t.Errorf("there were %d answers only", at)
			}
			return
		}
	}
}

// TestFailures: what goes wrong is told, the number of attempts is bounded, and no session is left.
func TestFailures(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name  string
		play  pepsim.Play
		want  string
		times int // that a login succeeds
		kind  dr.Kind
	}{
		{"error record", pepsim.Play{Complain: "an error occurred while communicating with the ECE service"}, "communicating with the ECE service", 2, dr.KindUnavailable},
		{"failed command", pepsim.Play{Fail: "the term is not recognized"}, "the term is not recognized", 2, dr.KindUnavailable},
		{"broken session", pepsim.Play{Break: "out of memory"}, "the session broke: out of memory", 2, dr.KindUnavailable},
		{"nothing told", pepsim.Play{}, "told nothing", 2, dr.KindUnavailable},
		{"question", pepsim.Play{Ask: true}, "it asks a person", 2, dr.KindUnavailable},
		{"no document", pepsim.Play{Status: "Running", Document: "<Action><Step></Action>"}, "read the steps", 2, dr.KindUnavailable},
		{"changed on the way", pepsim.Play{Status: "Running", Garble: true}, "checksum does not match", 4, dr.KindUnavailable}, // again to end the session
		{"in the clear", pepsim.Play{Weak: true}, "does not offer 128-bit sealing", 0, dr.KindUnavailable},
		{"no rights", pepsim.Play{Deny: true}, "Access is denied.", 1, dr.KindInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := pepsim.Start(t, login, tt.play)
			_, err := client(t, &now, h.Address).Status(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) || dr.KindOf(err) != tt.kind || dr.Hint(err) == "" {
				t.Errorf("%v (%s), want %q", err, dr.KindOf(err), tt.want)
			}
			if n := h.Counts(); n.Logins != tt.times || n.Opened != n.Ended {
				t.Errorf("%+v, want %d logins", n, tt.times)
			}
		})
	}
}

// TestRefused: a wrong password is tried once and not again for a while, so that the account is not locked out.
func TestRefused(t *testing.T) {
	now := time.Unix(1800000000, 0)
	a, b := pepsim.Start(t, login, pepsim.Play{Status: "Running"}), pepsim.Start(t, login, pepsim.Play{Status: "Running"})
	c := client(t, &now, a.Address, b.Address)
	password := "wrong"
	c.cfg.Secret = func() (string, error) { return password, nil }
	ask := func(refused int) {
		t.Helper()
		_, err := c.Status(t.Context())
		if dr.KindOf(err) != dr.KindInvalid || !strings.Contains(dr.Hint(err), "pep-secret") || strings.Contains(err.Error(), password) {
			t.Errorf("refused: %v", err)
		}
		if n := a.Counts().Refused + b.Counts().Refused; n != refused {
			t.Errorf("%d passwords were refused, want %d", n, refused)
		}
	}
	ask(1)
	ask(1)
	now = now.Add(coolDown)
	ask(2)
	password = "also wrong"
	ask(3)
	password = login.Password
	if s, err := c.Status(t.Context()); err != nil || s.State != "Running" {
		t.Errorf("%+v %v", s, err)
	}
	c.cfg.Secret = func() (string, error) { return "", errors.New("no such file") }
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}

// TestNoScripts: the endpoint refuses scripts and commands that are not on its list, and says so.
func TestNoScripts(t *testing.T) {
	now := time.Now()
	h := pepsim.Start(t, login, pepsim.Play{Status: "Running"})
	c := client(t, &now, h.Address)
	ch, err := openChannel(t.Context(), h.Address, c.cfg, login.Password)
	if err != nil {
		t.Fatal(err)
	}
	defer ch.close()
	s := newShell(ch, c.cfg)
	if err := s.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	script := objects.NewPowerShell()
	script.NoInput = true
	script.AddCommand(statusCommand+" -StatusOnly", true)
	if _, err := s.invoke(t.Context(), script); err == nil || !strings.Contains(err.Error(), "no-language mode") {
		t.Errorf("a script: %v", err)
	}
	if _, err := s.run(t.Context(), "Get-Process"); err == nil || !strings.Contains(err.Error(), "run Get-Process: The term 'Get-Process' is not recognized") {
		t.Errorf("another command: %v", err)
	}
	if out, err := s.run(t.Context(), statusCommand, "StatusOnly"); err != nil || len(out) != 1 {
		t.Errorf("after that: %v %v", out, err)
	}
	if err := s.remove(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestEnd: who does not want to know any more does not wait.
func TestEnd(t *testing.T) {
	now := time.Now()
	h := pepsim.Start(t, login, pepsim.Play{Hang: true})
	c := client(t, &now, h.Address, h.Address, h.Address)
	c.cfg.Patience = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Status(ctx); err == nil || !strings.Contains(err.Error(), "context deadline exceeded") {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	secret := func() (string, error) { return "", nil }
	for _, c := range []Config{{}, {Hosts: []string{"a"}}, {Hosts: []string{"a", ""}, User: "u", Secret: secret}, {Hosts: []string{"a"}, User: "u"}} {
		if _, err := New(c); dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
