package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/site/qemu/lanswitch"
	"understudy/internal/site/sitetest"
	"understudy/test/need"
)

// TestMain lets the test program be the switch and what joins a guest to a service, as the main program is in earnest,
// and another controller.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "connect" {
		conn, err := net.Dial("tcp", os.Args[2])
		if err != nil {
			os.Exit(1)
		}
		go func() { _, _ = io.Copy(conn, os.Stdin) }()
		_, _ = io.Copy(os.Stdout, conn)
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == "hold-disk" {
		if err := holdDisk(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == "lan-switch" {
		if err := lanswitch.Main(context.Background(), os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// lab is a site in a temporary folder whose machines are killed when the test ends.
type lab struct {
	*testing.T
	dir string
	ctx context.Context
	*Driver
	services []Service
}

// labLimit bounds a test, so that one that hangs fails and is cleaned up after.
const labLimit = 2 * time.Minute

// newLab makes the site of a test that may run beside others; newQuietLab that of one that may not.
func newLab(t *testing.T) *lab {
	t.Helper()
	t.Parallel()
	return newQuietLab(t)
}

func newQuietLab(t *testing.T) *lab {
	t.Helper()
	need.Tool(t, "qemu-system-x86_64", "qemu-img")
	l := &lab{T: t, dir: t.TempDir()}
	var cancel context.CancelFunc
	l.ctx, cancel = context.WithTimeout(t.Context(), labLimit)
	t.Cleanup(cancel)
	l.reopen()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		runs, _ := filepath.Glob(filepath.Join(l.dir, "run", "*", "state.json"))
		for _, path := range runs {
			m := l.handle(filepath.Base(filepath.Dir(path)))
			unlock, err := m.lockNow(ctx)
			if err == nil {
				unlock()
			} else {
				t.Error(err)
			}
			if err := m.kill("the test ended"); err != nil { // also when somebody holds it
				t.Error(err)
			}
		}
		_ = l.Driver.Close()
		l.burials.Wait() // they write below the test's folder
	})
	return l
}

// Context ends with the test, and in bounded time.
func (l *lab) Context() context.Context { return l.ctx }

// reopen stands for the death of the controller and the start of the next one.
func (l *lab) reopen() {
	l.Helper()
	if l.Driver != nil {
		_ = l.Driver.Close() // what the kernel does for a dead process
	}
	exe, err := os.Executable()
	if err != nil {
		l.Fatal(err)
	}
	l.Driver, err = New(Config{Dir: l.dir, Accel: "tcg", SwitchCommand: []string{exe, "lan-switch"}, Services: l.services, ConnectCommand: []string{exe, "connect"}})
	if err != nil {
		l.Fatal(err)
	}
}

// define writes a definition; disks named in it are created with 4 MiB.
func (l *lab) define(name, yaml string, disks ...string) {
	l.Helper()
	for _, d := range disks {
		path := filepath.Join(l.dir, "machines", d)
		out, err := exec.Command("qemu-img", "create", "-q", "-f", strings.TrimPrefix(filepath.Ext(d), "."), path, "4M").CombinedOutput()
		if err != nil {
			l.Fatalf("qemu-img: %v: %s", err, out)
		}
	}
	if err := os.WriteFile(l.definitionPath(name), []byte(yaml), 0o600); err != nil {
		l.Fatal(err)
	}
}

const idleYAML = `name: idle
memory: 32MiB
disks:
  - {name: data, path: data.qcow2, format: qcow2}
`

func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatalf("%v (hint: %s)", err, dr.Hint(err))
	}
}

func (l *lab) wantKind(err error, kind dr.Kind) {
	l.Helper()
	if err == nil || dr.KindOf(err) != kind || dr.Hint(err) == "" {
		l.Fatalf("error %v (kind %s, hint %q), want kind %s with a hint", err, dr.KindOf(err), dr.Hint(err), kind)
	}
}

func (l *lab) get(name string) dr.Machine {
	l.Helper()
	list, err := l.Machines(l.Context())
	l.must(err)
	for _, m := range list {
		if m.Name == name {
			return m
		}
	}
	return dr.Machine{}
}

func (l *lab) state(name string) state {
	l.Helper()
	s, err := l.handle(name).readState()
	l.must(err)
	return s
}

// guestIO makes QEMU read or write the disk as if the guest did, below its device and above every filter.
func (l *lab) guestIO(id dr.DiskID, command string) string {
	l.Helper()
	c, err := l.handle(id.Machine).monitor(l.Context())
	l.must(err)
	var out string
	l.must(c.Run(l.Context(), "human-monitor-command", map[string]any{
		"command-line": fmt.Sprintf(`qemu-io -d /machine/peripheral/%s/virtio-backend "%s"`, deviceID(id.Disk), command),
	}, &out))
	if strings.Contains(out, "rror") || strings.Contains(out, "failed") {
		l.Fatalf("qemu-io %s: %s", command, out)
	}
	return out
}

func (l *lab) write(id dr.DiskID, off int64, p []byte) {
	l.Helper()
	for len(p) > 0 { // qemu-io writes runs of one byte
		n := 1
		for n < len(p) && p[n] == p[0] {
			n++
		}
		l.guestIO(id, fmt.Sprintf("write -P %d %d %d", p[0], off, n))
		off, p = off+int64(n), p[n:]
	}
}

// serve exports content by qemu-nbd and returns its URI.
func (l *lab) serve(t testing.TB, content []byte) string {
	t.Helper()
	need.Tool(t, "qemu-nbd")
	dir := t.TempDir()
	img, socket, pidfile := filepath.Join(dir, "i"), filepath.Join(dir, "s"), filepath.Join(dir, "p")
	if err := os.WriteFile(img, content, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("qemu-nbd", "-r", "-f", "raw", "-t", "-e", "8", "-x", "disk", "-k", socket, "--fork", "--pid-file", pidfile, img)
	if out, err := cmd.CombinedOutput(); err != nil { // returns when the socket is there
		t.Fatalf("qemu-nbd: %v: %s", err, out)
	}
	t.Cleanup(func() {
		b, _ := os.ReadFile(pidfile)
		var pid int
		if _, err := fmt.Sscan(string(b), &pid); err == nil {
			endProcess(pid)
		}
	})
	return "nbd+unix:///disk?socket=" + socket
}

func endProcess(pid int) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill()
	}
}

func TestConformance(t *testing.T) {
	sitetest.Run(t, func(t *testing.T) *sitetest.Harness {
		l := newLab(t)
		l.define("idle", idleYAML, "data.qcow2")
		l.must(l.Power(l.Context(), "idle", site.PowerStart))
		return &sitetest.Harness{
			Driver: l.Driver, Machine: "idle", Capture: true, Provision: true,
			Write:  func(_ testing.TB, id dr.DiskID, off int64, p []byte) { l.write(id, off, p) },
			Source: l.serve,
			Restart: func(testing.TB) site.Driver {
				l.reopen()
				return l.Driver
			},
		}
	})
}

func TestAdopt(t *testing.T) {
	l := newLab(t)
	l.define("idle", idleYAML, "data.qcow2")
	l.must(l.Power(l.Context(), "idle", site.PowerStart))
	before := l.state("idle")
	if before.PID == 0 || before.Generation != 1 {
		t.Fatalf("state %+v", before)
	}
	for _, tt := range []struct {
		journal *journal
		want    dr.Power
	}{
		{nil, dr.PowerPaused},                           // by a person
		{&journal{Group: "g", ID: "c"}, dr.PowerPaused}, // by a person, before or after the instant
		{&journal{Group: "g", ID: "c", Stopped: true}, dr.PowerOn},
	} {
		c, err := l.handle("idle").monitor(l.Context())
		l.must(err)
		l.must(c.Run(l.Context(), "stop", nil, nil))
		if tt.journal != nil {
			l.must(l.handle("idle").writeJournal(*tt.journal))
		}
		l.reopen()
		if m := l.get("idle"); m.Power != tt.want {
			t.Errorf("journal %+v: after a restart of the controller the machine is %s", tt.journal, m.Power)
		}
		if j, err := l.handle("idle").readJournal(); j != nil || err != nil {
			t.Errorf("journal %+v is left, %v", j, err)
		}
	}
	l.must(l.Power(l.Context(), "idle", site.PowerStart))
	if s := l.state("idle"); s.PID != before.PID || s.Generation != 1 {
		t.Errorf("state %+v, want the process as before", s)
	}
	// A start whose end nobody saw is found too.
	s := before
	s.Starting, s.PID, s.StartTime = true, 0, ""
	l.must(l.handle("idle").writeState(s))
	l.reopen()
	if m := l.get("idle"); m.Power != dr.PowerOn {
		t.Errorf("a start that was cut off: the machine is %s", m.Power)
	}
	l.must(l.Power(l.Context(), "idle", site.PowerKill))
	if processAlive(before.PID, before.StartTime) {
		t.Error("the process lives on")
	}
}

func TestMachineDies(t *testing.T) {
	l := newLab(t)
	l.define("idle", idleYAML, "data.qcow2")
	l.must(l.Power(l.Context(), "idle", site.PowerStart))
	s := l.state("idle")
	l.must(killProcess(s.PID))
	l.must(l.handle("idle").waitExit(l.Context(), s))
	if m := l.get("idle"); m.Power != dr.PowerOff {
		t.Errorf("power %s", m.Power)
	}
	err := l.Probe(l.Context(), "idle", dr.Probe{Kind: dr.ProbeSerial, Text: "never", Timeout: time.Minute})
	l.wantKind(err, dr.KindUnavailable)
	l.must(l.Power(l.Context(), "idle", site.PowerStart))
	if s := l.state("idle"); s.Generation != 2 {
		t.Errorf("state %+v", s)
	}
	// One that is dying: its monitor is gone, the process not yet.
	m := l.handle("idle")
	for range 5 {
		s = l.state("idle")
		l.must(killProcess(s.PID))
		l.must(l.Power(l.Context(), "idle", site.PowerStart))
		if next := l.state("idle"); next.PID == s.PID || !m.running() {
			t.Fatalf("state %+v after the death of %d", next, s.PID)
		}
	}
	// The same while no controller looks.
	s = l.state("idle")
	_ = l.Driver.Close()
	l.must(killProcess(s.PID))
	l.must(l.handle("idle").waitExit(l.Context(), s))
	l.reopen()
	if s := l.state("idle"); s.PID != 0 || !s.Unclean {
		t.Errorf("state %+v, want an unclean end", s)
	}
}

func TestStartFails(t *testing.T) {
	l := newLab(t)
	l.define("idle", idleYAML, "data.qcow2")
	// Another program has the disk open.
	hold := exec.Command("qemu-nbd", "-t", "-f", "qcow2", "-k", filepath.Join(t.TempDir(), "s"), "--fork", "--pid-file", filepath.Join(t.TempDir(), "p"),
		filepath.Join(l.dir, "machines", "data.qcow2"))
	pidfile := hold.Args[len(hold.Args)-2]
	if out, err := hold.CombinedOutput(); err != nil {
		t.Fatalf("qemu-nbd: %v: %s", err, out)
	}
	var pid int
	b, _ := os.ReadFile(pidfile)
	if _, err := fmt.Sscan(string(b), &pid); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endProcess(pid) })
	err := l.Power(l.Context(), "idle", site.PowerStart)
	l.wantKind(err, dr.KindConflict)
	if !strings.Contains(err.Error(), "lock") {
		t.Errorf("the error does not say what QEMU said: %v", err)
	}
	for _, path := range []string{l.handle("idle").pidfile(), l.socket("idle", "qmp"), l.socket("idle", "agent")} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
	if s := l.state("idle"); s.PID != 0 || s.Starting {
		t.Errorf("state %+v", s)
	}
	l.cfg.Binary = "no-such-emulator"
	err = l.Power(l.Context(), "idle", site.PowerStart)
	l.wantKind(err, dr.KindUnavailable)
	if !strings.Contains(dr.Hint(err), "apt-get install") {
		t.Errorf("hint %q", dr.Hint(err))
	}
}

func TestShutdownForced(t *testing.T) {
	l := newLab(t)
	l.define("idle", idleYAML, "data.qcow2")
	l.must(l.Power(l.Context(), "idle", site.PowerStart))
	ctx, cancel := context.WithTimeout(l.Context(), 200*time.Millisecond)
	defer cancel()
	l.must(l.Power(ctx, "idle", site.PowerShutdown)) // the firmware does not listen
	if m := l.get("idle"); m.Power != dr.PowerOff {
		t.Errorf("power %s", m.Power)
	}
	l.must(l.Power(l.Context(), "idle", site.PowerStart))
	ctx, cancel = context.WithCancel(l.Context())
	cancel()
	if err := l.Power(ctx, "idle", site.PowerShutdown); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if m := l.get("idle"); m.Power != dr.PowerOn {
		t.Errorf("power %s", m.Power)
	}
}

func TestForwards(t *testing.T) {
	l := newQuietLab(t) // wants a certain port free
	const yaml = `name: %s
memory: 32MiB
nics: [{network: access, forwards: [{guestPort: 80, hostPort: %d}]}]
`
	l.define("a", fmt.Sprintf(yaml, "a", 0))
	l.must(l.Power(l.Context(), "a", site.PowerStart))
	port := l.get("a").NICs[0].Forwards[0].HostPort
	if port == 0 {
		t.Fatal("no host port reported")
	}
	l.define("b", fmt.Sprintf(yaml, "b", port))
	l.wantKind(l.Power(l.Context(), "b", site.PowerStart), dr.KindConflict)
	l.must(l.Power(l.Context(), "a", site.PowerKill))
	if p := l.get("a").NICs[0].Forwards[0].HostPort; p != 0 {
		t.Errorf("a stopped machine reports port %d", p)
	}
	l.must(l.Power(l.Context(), "b", site.PowerStart))
	l.must(l.Power(l.Context(), "a", site.PowerStart)) // its port is taken: another one
	if p := l.get("a").NICs[0].Forwards[0].HostPort; p == 0 || p == port {
		t.Errorf("port %d", p)
	}
	// The forward accepts at once; the probe must not believe it.
	l.wantKind(l.Probe(l.Context(), "a", dr.Probe{Kind: dr.ProbeTCP, Port: 80, Timeout: time.Second}), dr.KindUnavailable)
	l.wantKind(l.Probe(l.Context(), "a", dr.Probe{Kind: dr.ProbeTCP, Port: 81}), dr.KindInvalid)
}

func TestProvisionFiles(t *testing.T) {
	l := newLab(t)
	kernel := bytes.Repeat([]byte("kernel!"), 1000)
	padded := append(bytes.Clone(kernel), make([]byte, 8192-len(kernel))...)
	req := site.ProvisionRequest{
		Machine: dr.Machine{
			Name: "db", CPUs: 2, MemoryMiB: 128, Agent: true, Boot: dr.Boot{Cmdline: "console=ttyS0 a=\"b, c\""},
			Disks: []dr.Disk{{Name: "kernel", Size: int64(len(kernel)), Role: dr.RoleKernel}, {Name: "data", Size: 8 << 20}},
			NICs:  []dr.NIC{{Network: "lan", MAC: "52:54:00:00:00:01"}, {Network: "access", Forwards: []dr.Forward{{HostPort: 7000, GuestPort: 7000}}}},
		},
		Sources: map[string]string{"kernel": l.serve(t, padded), "data": "nbd+unix:///disk?socket=/nowhere"},
		Owner:   "run-1", Isolation: "test-1",
	}
	l.must(l.Provision(l.Context(), req))
	m := l.get("db")
	got, err := os.ReadFile(m.Disks[0].Path)
	l.must(err)
	if !bytes.Equal(got, kernel) {
		t.Errorf("kernel of %d bytes differs", len(got))
	}
	if m.CPUs != 2 || m.MemoryMiB != 128 || !m.Agent || m.Boot.Cmdline != req.Machine.Boot.Cmdline || m.NICs[0].MAC != "52:54:00:00:00:01" {
		t.Errorf("machine %+v", m)
	}
	if p := m.NICs[1].Forwards[0].HostPort; p != 0 {
		t.Errorf("an isolated copy asks for host port %d", p)
	}
	// A resumed run serves its sources elsewhere.
	req.Sources["data"] = "nbd+unix:///disk?socket=/elsewhere"
	l.must(l.Provision(l.Context(), req))
	img, err := readImage(m.Disks[1].Path, "qcow2")
	l.must(err)
	if !strings.Contains(img.Backing, "/elsewhere") {
		t.Errorf("backing %s", img.Backing)
	}
	// The source is away: the start says so and leaves nothing.
	req.Machine.NICs = nil
	l.wantKind(l.Power(l.Context(), "db", site.PowerStart), dr.KindUnavailable)

	// Half a machine, as a crash before the definition was written leaves it.
	l.must(os.Remove(l.definitionPath("db")))
	if got := l.get("db"); got.Name != "" {
		t.Error("half a machine is listed")
	}
	l.must(l.Delete(l.Context(), "db"))
	if _, err := os.Stat(l.diskDir("db")); err == nil {
		t.Error("disks are left")
	}
}

func TestProvisionBadRequest(t *testing.T) {
	l := newLab(t)
	ok := dr.Machine{Name: "db", Disks: []dr.Disk{{Name: "data", Size: 4096}}}
	disks := make([]dr.Disk, maxDisks+1)
	for i := range disks {
		disks[i] = dr.Disk{Name: fmt.Sprintf("d%d", i), Size: 4096}
	}
	for name, req := range map[string]site.ProvisionRequest{
		"disks":          {Machine: dr.Machine{Name: "db", Disks: disks}},
		"NICs":           {Machine: dr.Machine{Name: "db", NICs: make([]dr.NIC, maxNICs+1)}},
		"name":           {Machine: dr.Machine{Name: "../db"}},
		"unknown source": {Machine: ok, Sources: map[string]string{"other": "nbd://host/x"}},
		"scheme":         {Machine: ok, Sources: map[string]string{"data": "http://host/x"}},
		"format":         {Machine: dr.Machine{Name: "db", Disks: []dr.Disk{{Name: "data", Size: 4096, Format: "floppy"}}}},
		"size":           {Machine: dr.Machine{Name: "db", Disks: []dr.Disk{{Name: "data"}}}},
	} {
		t.Run(name, func(t *testing.T) { l.wantKind(l.Provision(l.Context(), req), dr.KindInvalid) })
	}
}

func TestTrimConsole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) // as QEMU holds it
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, tt := range []struct{ says, now, before, earlier string }{
		{"0123456789", "0123456789", "", ""},
		{"a", "", "789a", ""},
		{"bcdefghijklmn", "", "klmn", "789a"},
		{"o", "o", "klmn", "789a"},
	} {
		_, err := f.WriteString(tt.says)
		if err == nil {
			err = trimConsole(path, 10, 4)
		}
		if err != nil {
			t.Fatal(err)
		}
		for suffix, want := range map[string]string{"": tt.now, ".1": tt.before, ".2": tt.earlier} {
			if got, _ := os.ReadFile(path + suffix); string(got) != want {
				t.Errorf("%d: console%s is %q, want %q", i, suffix, got, want)
			}
		}
	}
}

func TestEstablished(t *testing.T) {
	const table = `Hub -1 (net0):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   16       127.0.0.1 17000      10.0.2.15  7000     0     0
  TCP[SYN_SENT]      17       127.0.0.1 17001      10.0.2.15    80     0     0
  TCP[HOST_FORWARD]  14       127.0.0.1 17001      10.0.2.15    80     0     0
`
	if !established(table, 17000, 7000) {
		t.Error("a connection is missed")
	}
	if established(table, 17001, 80) || established(table, 17000, 80) || established("", 17000, 7000) {
		t.Error("a connection is seen that is none")
	}
}
