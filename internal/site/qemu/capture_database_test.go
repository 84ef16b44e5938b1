package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"understudy/internal/demo/guest/ledger"
	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/test/need"
)

// ledgerDisk builds the database program as a disk that a guest can copy it from.
func (l *lab) ledgerDisk(file string) {
	l.Helper()
	args := []string{"build", "-o", file}
	out, err := exec.CommandContext(l.Context(), "go", "env", "CGO_ENABLED").Output()
	l.must(err)
	if strings.TrimSpace(string(out)) == "1" { // with the packages that tests have compiled anyway
		args = append(args, "-ldflags", "-s -w -linkmode external -extldflags -static")
	}
	build := exec.CommandContext(l.Context(), "go", append(args, "understudy/internal/demo/guest/cmd/ledger")...)
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		l.Fatalf("build the ledger: %v: %s", err, out)
	}
	st, err := os.Stat(file)
	l.must(err)
	l.must(os.Truncate(file, (st.Size()+1<<20)&^(1<<20-1)))
}

// TestDatabase captures a guest whose SQLite database is written to all the time: after a crash-consistent capture it
// recovers and has every row that was acknowledged before; in an application-consistent one nothing is to be recovered,
// and it holds exactly the rows acknowledged at the instant.
func TestDatabase(t *testing.T) {
	guest := need.Guest(t)
	need.Tool(t, "go")
	l := newLab(t)
	l.ledgerDisk(filepath.Join(l.dir, "machines", "tool.raw"))
	define := func(name, role, disks string) {
		l.define(name, fmt.Sprintf(`name: %s
memory: 224MiB
agent: true
boot: {kernel: %s/vmlinuz, initrd: %s/initrd.gz, cmdline: "console=ttyS0 quiet us.role=idle %s"}
disks: [%s]
`, name, guest, guest, role, disks))
	}
	define("db", "us.data=vda", "{name: data, path: db.qcow2, format: qcow2}, {name: tool, path: tool.raw, format: raw}")
	l.makeDisk64("db")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	boot := func(name string) {
		t.Helper()
		l.must(l.Power(ctx, name, site.PowerStart))
		l.must(l.Probe(ctx, name, dr.Probe{Kind: dr.ProbeSerial, Text: "role=idle ready"}))
		l.must(l.Probe(ctx, name, dr.Probe{Kind: dr.ProbeAgent}))
	}
	in := func(name, script string) string {
		t.Helper()
		res, err := l.Command(ctx, name, site.Command{Argv: []string{"/bin/sh", "-c", script}})
		l.must(err)
		if res.ExitCode != 0 {
			t.Fatalf("%s: %s: exit code %d: %s%s", name, script, res.ExitCode, res.Stdout, res.Stderr)
		}
		return strings.TrimSpace(string(res.Stdout))
	}
	install := func(name, disk string) {
		t.Helper()
		in(name, "dd if=/dev/"+disk+" of=/run/ledger bs=1M 2>/dev/null && chmod 755 /run/ledger")
	}
	number := func(text string) int64 {
		t.Helper()
		n, err := strconv.ParseInt(text, 10, 64)
		l.must(err)
		return n
	}
	boot("db")
	install("db", "vdb")
	in("db", "/run/ledger run /data/ledger.db </dev/null >/run/ledger.log 2>&1 &")
	acked := func() int64 { return number(in("db", "cat /run/ledger.acked 2>/dev/null | grep . || echo 0")) }
	reach := func(n int64) int64 {
		t.Helper()
		for {
			if have := acked(); have >= n {
				return have
			}
			if ctx.Err() != nil {
				t.Fatalf("the database stands still: %s", in("db", "cat /run/ledger.log"))
			}
		}
	}
	r := newReplica(l, "db")
	images := map[dr.Consistency]string{}
	capture := func(freeze bool) dr.Consistency {
		t.Helper()
		req := r.request()
		if freeze {
			req.Freeze, req.FreezeTimeout = true, 20*time.Second
			req.Hooks = map[string]dr.Hooks{"db": {Before: []string{"/run/ledger", "quiesce"}, After: []string{"/run/ledger", "resume"}}}
		}
		c, err := l.Capture(ctx, req)
		l.must(err)
		if err := c.(site.Shortfaller).Shortfall(); err != nil {
			t.Fatal(err)
		}
		r.pull(c)
		l.must(c.Commit(ctx))
		r.last = req.ID
		file := filepath.Join(l.dir, "machines", string(c.Consistency())+".raw")
		l.must(os.WriteFile(file, r.disks[dr.DiskID{Machine: "db", Disk: "data"}], 0o600))
		images[c.Consistency()] = file
		return c.Consistency()
	}
	before := reach(40)
	if kind := capture(false); kind != dr.CrashConsistent {
		t.Fatal(kind)
	}
	reach(before + 40)
	if kind := capture(true); kind != dr.ApplicationConsistent {
		t.Fatal(kind)
	}
	instant := number(in("db", "cat /run/ledger.quiet"))
	reach(instant + 20) // it goes on
	l.must(l.Power(ctx, "db", site.PowerKill))

	define("check", "us.data=none us.format=never", "{name: application, path: application.raw, format: raw}, {name: crash, path: crash.raw, format: raw}, {name: tool, path: tool.raw, format: raw}")
	boot("check")
	install("check", "vdc")
	check := func(device, mount, how string) (rep ledger.Report) {
		t.Helper()
		text := in("check", fmt.Sprintf("mkdir -p /run/%s && mount -t ext4 %s /dev/%s /run/%s && /run/ledger check %s /run/%s/ledger.db", device, mount, device, device, how, device))
		l.must(json.Unmarshal([]byte(text), &rep))
		return rep
	}
	// Neither the journal of the file system nor the log of the database is recovered here.
	app := check("vda", "-o ro,noload", "-as-is")
	crash := check("vdb", "", "")
	t.Logf("at the instant %d rows were acknowledged, application consistent: %+v; %d before the other capture, crash consistent: %+v", instant, app, before, crash)
	if !app.OK() || app.WAL != 0 || app.Last != instant {
		t.Errorf("application consistent: %+v, want exactly %d and no log", app, instant)
	}
	if !crash.OK() || crash.Last < before {
		t.Errorf("crash consistent: %+v, want at least %d", crash, before)
	}
	if out, err := exec.CommandContext(ctx, "e2fsck", "-fn", images[dr.ApplicationConsistent]).CombinedOutput(); err != nil {
		t.Errorf("file system: %v: %s", err, out)
	}
}
