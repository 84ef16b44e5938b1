package qemu

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/site/sitetest"
	"understudy/test/need"
)

// TestGuests boots a database and a web server that needs it through the switch, and looks at them in every way.
func TestGuests(t *testing.T) {
	guest := need.Guest(t)
	l := newLab(t)
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "served") }))
	t.Cleanup(served.Close)
	l.services = []Service{{Name: "web", GuestPort: 9100, Address: served.Listener.Addr().String()}, {Name: "down", GuestPort: 9101, Address: "127.0.0.1:1"}}
	l.reopen()
	boot := func(role, extra string) string {
		return fmt.Sprintf("boot: {kernel: %s/vmlinuz, initrd: %s/initrd.gz, cmdline: \"console=ttyS0 quiet us.role=%s %s\"}\n", guest, guest, role, extra)
	}
	l.define("db", "name: db\nmemory: 192MiB\nagent: true\n"+boot("db", "us.ip=10.77.0.10/24")+`disks: [{name: data, path: db.qcow2, format: qcow2}]
nics: [{network: lan}, {network: access, forwards: [{guestPort: 7000}]}]
`)
	l.define("web", "name: web\nmemory: 192MiB\n"+boot("web", "us.ip=10.77.0.11/24")+`disks: [{name: data, path: web.qcow2, format: qcow2}]
nics: [{network: lan}, {network: access, forwards: [{guestPort: 80}]}]
`)
	for _, name := range []string{"db", "web"} {
		l.makeDisk64(name)
	}
	ctx, cancel := context.WithTimeout(l.Context(), 2*time.Minute)
	defer cancel()
	start := time.Now()
	took := func(what string) { t.Logf("%6.2f s %s", time.Since(start).Seconds(), what) }
	l.must(l.Preserve(ctx, "db"))
	l.must(l.Power(ctx, "db", site.PowerStart))
	took("db: monitor answers")
	l.must(l.Probe(ctx, "db", dr.Probe{Kind: dr.ProbeSerial, Text: "understudy-guest: boot role=db"}))
	took("db: first line of the guest")
	l.must(l.Probe(ctx, "db", dr.Probe{Kind: dr.ProbeTCP, Port: 7000}))
	took("db: TCP")
	l.must(l.Power(ctx, "web", site.PowerStart))
	l.must(l.Probe(ctx, "web", dr.Probe{Kind: dr.ProbeHTTP, Port: 80, Path: "/"}))
	took("web: HTTP, with what it asked db for")
	l.must(l.Probe(ctx, "db", dr.Probe{Kind: dr.ProbeAgent}))
	took("db: guest agent")

	agent := func() *Agent {
		t.Helper()
		m, err := l.machine("db")
		l.must(err)
		a, err := m.agent(ctx)
		l.must(err)
		return a
	}
	a := agent()
	res, err := a.Exec(ctx, []string{"/bin/sh", "-c", "cat; echo problem >&2; exit 3"}, []byte("spoken"))
	l.must(err)
	if res.ExitCode != 3 || string(res.Stdout) != "spoken" || string(res.Stderr) != "problem\n" {
		t.Errorf("exec: %+v", res)
	}
	l.must(a.Close())
	took("db: a command")
	sitetest.Command(ctx, t, l.Driver, "db")
	took("db: all kinds of commands")
	for at, want := range map[string]string{
		ServiceAddress + ":9100":                          "served",
		ServiceAddress + ":9101":                          "", // the service is down
		ServiceAddress + ":80":                            "",
		"10.0.2.2" + served.URL[len("http://127.0.0.1"):]: "", // the host itself
	} {
		host, port, _ := net.SplitHostPort(at)
		out, err := l.Command(ctx, "db", site.Command{Argv: []string{"sh", "-c", `printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 3 $0 $1`, host, port}})
		if err != nil || !strings.HasSuffix(string(out.Stdout), want) || want == "" && len(out.Stdout) > 0 {
			t.Errorf("%s: %+v, %v", at, out, err)
		}
	}
	took("db: services of the site")
	l.must(l.Settle(ctx, "db", true)) // while it writes
	took("db: what it wrote is its disk's content")
	if b, err := l.Console(ctx, "db", 1<<20); err != nil || !strings.Contains(string(b), "understudy-guest: boot role=db") {
		t.Errorf("console: %q, %v", b, err)
	}
	a = agent()
	n, err := a.Freeze(ctx)
	l.must(err)
	if n != 1 {
		t.Errorf("%d file systems frozen, want the data disk's", n)
	}
	l.must(a.Close()) // the controller dies: the guest stays frozen
	l.reopen()
	a = agent()
	frozen, err := a.Frozen(ctx)
	l.must(err)
	if !frozen {
		t.Error("the guest thawed by itself")
	}
	l.must(a.Close())
	short, stop := context.WithTimeout(ctx, time.Second)
	_, err = l.Command(short, "db", site.Command{Argv: []string{"true"}}) // waits for the thaw
	stop()
	l.wantKind(err, dr.KindUnavailable)
	a = agent()
	l.must(a.Thaw(ctx))
	l.must(a.Close())
	if out, err := l.Command(ctx, "db", site.Command{Argv: []string{"echo", "thawed"}}); err != nil || string(out.Stdout) != "thawed\n" {
		t.Errorf("a command in a thawed guest: %+v, %v", out, err)
	}
	took("db: commands, freeze and thaw")

	l.must(l.Power(ctx, "web", site.PowerShutdown))
	took("web: shut down")
	if s := l.state("web"); s.Unclean || !strings.Contains(s.Exit, "guest shut down") {
		t.Errorf("state %+v, want the guest to have shut down", s)
	}
	// A guest that ends by itself: nobody asked, and it counts as an orderly end.
	a = agent()
	_, _ = a.Exec(ctx, []string{"/bin/sh", "-c", "sync; poweroff -f"}, nil)
	_ = a.Close()
	s := l.state("db")
	l.must(l.handle("db").waitExit(ctx, s))
	took("db: powered itself off")
	if m := l.get("db"); m.Power != dr.PowerOff {
		t.Errorf("power %s", m.Power)
	}
	l.wantSettled("db", "db")
	l.must(l.image(ctx, nil, "convert", "-O", "raw", filepath.Join(l.dir, "machines", "db.qcow2"), filepath.Join(l.dir, "db.raw")))
	check := exec.Command("e2fsck", "-fy", filepath.Join(l.dir, "db.raw"))
	if out, err := check.CombinedOutput(); check.ProcessState.ExitCode() > 1 { // counts are corrected after an end without unmounting
		t.Errorf("file system of db: %v: %s", err, out)
	}
}

// makeDisk64 gives a machine a disk that a file system fits on.
func (l *lab) makeDisk64(name string) {
	l.Helper()
	l.must(l.image(l.Context(), nil, "create", "-q", "-f", "qcow2", l.dir+"/machines/"+name+".qcow2", "64M"))
}

// TestGuestFromSource boots a guest whose disk, kernel and initrd come over NBD, and hydrates it while it runs.
func TestGuestFromSource(t *testing.T) {
	guest := need.Guest(t)
	l := newLab(t)
	read := func(name string) []byte {
		b, err := os.ReadFile(guest + "/" + name)
		l.must(err)
		return b
	}
	kernel, initrd := read("vmlinuz"), read("initrd.gz")
	req := site.ProvisionRequest{
		Machine: dr.Machine{
			Name: "db", MemoryMiB: 192, Boot: dr.Boot{Cmdline: "console=ttyS0 quiet us.role=db us.data=data"},
			Disks: []dr.Disk{
				{Name: "data", Size: 64 << 20},
				{Name: "kernel", Size: int64(len(kernel)), Role: dr.RoleKernel},
				{Name: "initrd", Size: int64(len(initrd)), Role: dr.RoleInitrd},
			},
			NICs: []dr.NIC{{Network: "access", Forwards: []dr.Forward{{GuestPort: 7000}}}},
		},
		Sources: map[string]string{"kernel": l.serve(t, kernel), "initrd": l.serve(t, initrd), "data": l.serve(t, make([]byte, 64<<20))},
		Owner:   "run-1",
	}
	ctx, cancel := context.WithTimeout(l.Context(), 2*time.Minute)
	defer cancel()
	start := time.Now()
	took := func(what string) { t.Logf("%6.2f s %s", time.Since(start).Seconds(), what) }
	l.must(l.Provision(ctx, req))
	took("provisioned")
	l.must(l.Power(ctx, "db", site.PowerStart))
	took("started")
	hydrated := make(chan error, 1)
	go func() { hydrated <- l.Hydrate(ctx, "db", nil) }()
	l.must(l.Probe(ctx, "db", dr.Probe{Kind: dr.ProbeTCP, Port: 7000}))
	took("answers")
	l.must(<-hydrated)
	took("hydrated")
	l.must(l.Delete(ctx, "db"))
}
