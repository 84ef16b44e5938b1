package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"understudy/internal/demo/guest/shop"
	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/test/need"
)

// TestQuietGuest makes one guest quiet in every way, and fails at it in every way.
func TestQuietGuest(t *testing.T) {
	guest := need.Guest(t)
	l := newLab(t)
	l.define("db", fmt.Sprintf(`name: db
memory: 192MiB
agent: true
boot: {kernel: %s/vmlinuz, initrd: %s/initrd.gz, cmdline: "console=ttyS0 quiet us.role=db"}
disks: [{name: data, path: db.qcow2, format: qcow2}]
nics: [{network: access, forwards: [{guestPort: 7000}]}]
`, guest, guest))
	l.makeDisk64("db")
	l.must(l.Power(t.Context(), "db", site.PowerStart))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	l.must(l.Probe(ctx, "db", dr.Probe{Kind: dr.ProbeTCP, Port: 7000}))
	l.must(l.Probe(ctx, "db", dr.Probe{Kind: dr.ProbeAgent}))
	m := l.handle("db")
	in := func(script string) string {
		t.Helper()
		a, err := m.agent(ctx)
		l.must(err)
		defer a.Close()
		res, err := a.Exec(ctx, []string{"/bin/sh", "-c", script}, nil)
		l.must(err)
		return strings.TrimSpace(string(res.Stdout))
	}
	frozen := func() bool {
		t.Helper()
		a, err := m.agent(ctx)
		l.must(err)
		defer a.Close()
		f, err := a.Frozen(ctx)
		l.must(err)
		return f
	}
	r := newReplica(l, "db")
	// capture returns a capture's kind and shortfall, and makes sure that the guest goes on after it.
	capture := func(limit time.Duration, hooks dr.Hooks) (dr.Consistency, string) {
		t.Helper()
		req := r.request()
		req.Freeze, req.FreezeTimeout, req.Hooks = true, limit, map[string]dr.Hooks{"db": hooks}
		started := time.Now()
		c, err := l.Capture(ctx, req)
		l.must(err)
		took := time.Since(started)
		short := ""
		if err := c.(site.Shortfaller).Shortfall(); err != nil {
			short = err.Error()
		}
		l.must(c.Abort(ctx))
		if frozen() {
			t.Errorf("the guest is frozen after a capture (%s)", short)
		}
		if _, err := os.Stat(m.quietPath()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a note is left: %v", err)
		}
		t.Logf("%s consistent in %s, guest stood still %s: %s", c.Consistency(), took.Round(time.Millisecond), c.Paused().Round(time.Millisecond), short)
		return c.Consistency(), short
	}
	sh := func(script string) []string { return []string{"/bin/sh", "-c", script} }
	const long = 20 * time.Second // a loaded host

	if kind, short := capture(long, dr.Hooks{}); kind != dr.FilesystemConsistent || short != "" {
		t.Errorf("without hooks: %s, %s", kind, short)
	}
	hooks := dr.Hooks{Before: sh("[ ! -e /run/hooks ] && echo before >/run/hooks"), After: sh("echo after >>/run/hooks; ls /run/understudy-freeze-* >>/run/hooks 2>/dev/null; true")}
	if kind, short := capture(long, hooks); kind != dr.ApplicationConsistent || short != "" {
		t.Errorf("with hooks: %s, %s", kind, short)
	}
	if order := in("cat /run/hooks"); order != "before\nafter" {
		t.Errorf("hooks ran as %q", order)
	}
	// Now the one before fails, and its file systems are frozen all the same.
	if kind, short := capture(long, hooks); kind != dr.FilesystemConsistent || !strings.Contains(short, "machine db: hook before freezing") {
		t.Errorf("with a hook that fails: %s, %s", kind, short)
	}
	if order := in("cat /run/hooks"); order != "before\nafter\nafter" {
		t.Errorf("after a hook that failed they ran as %q", order)
	}
	if kind, short := capture(long, dr.Hooks{Before: []string{"/bin/no-such-program"}}); kind != dr.FilesystemConsistent || !strings.Contains(short, "no-such-program") {
		t.Errorf("with a hook that is not there: %s, %s", kind, short)
	}
	if kind, short := capture(time.Millisecond, dr.Hooks{Before: sh("true")}); kind != dr.CrashConsistent || short == "" {
		t.Errorf("with no time to freeze: %s, %s", kind, short)
	}

	// A controller that dies right after the freeze, with the host's part of its memory: nobody calls the switch off.
	q := &quiet{m: m, hooks: dr.Hooks{After: sh("touch /run/released")}, note: quietNote{Group: "shop", ID: "dies", Generation: m.generation()}}
	addr := fmt.Sprintf("127.0.0.1:%d", l.get("db").NICs[0].Forwards[0].HostPort)
	l.must(q.arm(ctx, -deadManGrace+2*time.Second))
	l.must(q.freeze(ctx))
	q.hangUp()
	l.must(m.forgetQuiet())
	began := time.Now()
	enough := errors.New("enough")
	records := 0
	if err := shop.Watch(ctx, addr, func(shop.Ack) error {
		if records++; records == 40 {
			return enough
		}
		return nil
	}); !errors.Is(err, enough) {
		t.Errorf("the guest does not write again: %v", err)
	}
	t.Logf("the guest let itself go on within %s", time.Since(began).Round(time.Millisecond))
	// The agent still believes in the freeze; the next capture puts that right.
	if kind, short := capture(long, dr.Hooks{Before: sh("[ -e /run/released ]")}); kind != dr.ApplicationConsistent {
		t.Errorf("after the guest thawed by itself: %s, %s", kind, short)
	}
}
