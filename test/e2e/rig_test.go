package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/demo/guest"
	"understudy/internal/demo/guest/shop"
	"understudy/internal/keyring"
	"understudy/test/need"
)

// A rig is two sites, a vault and a controller in one folder. Everything that runs for it names that folder on its
// command line, so that nothing is left behind whatever a test does.
type rig struct {
	t     *testing.T // of the whole rig, for what outlives a part
	dir   string     // short: unix sockets live below it
	guest string
	vault string
	tmpfs bool // the vault is on a file system of its own, of vaultSize bytes
	main  *controller
}

// vaultSize is the size of the vault's file system where it has one, in bytes.
const vaultSize = 256 << 20

// A controller is a process of `understudy serve`.
type controller struct {
	*client.Client
	data, config, log string
	cmd               *exec.Cmd
	ended             chan error
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, guest: need.Guest(t)}
	need.Tool(t, "e2fsck", "debugfs")
	var err error
	if r.dir, err = os.MkdirTemp("", "us-e2e-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.strike(t) })
	for _, dir := range []string{"east/machines", "east/images", "west", "config", "v"} {
		if err := os.MkdirAll(filepath.Join(r.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{guest.Kernel, guest.Initrd} {
		data, err := os.ReadFile(filepath.Join(r.guest, f))
		if err == nil {
			err = os.WriteFile(filepath.Join(r.dir, "east/images", f), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r.tmpfs = mountSmall(filepath.Join(r.dir, "v"), vaultSize) == nil
	r.vault = filepath.Join(r.dir, "v", "vault")
	r.main = r.controller("main")
	r.main.start(t)
	return r
}

// strike ends everything and removes the folder.
func (r *rig) strike(t *testing.T) {
	if t.Failed() && r.main != nil {
		text, err := os.ReadFile(r.main.log)
		t.Logf("the end of the controller's log: %v\n%s", err, text[max(0, len(text)-6000):])
	}
	// A controller may be starting a machine: it goes first, then what it left.
	for range 2 {
		for pid, line := range processes(t) {
			if strings.Contains(line, r.dir+"/") {
				end(t, pid)
			}
		}
	}
	if r.tmpfs {
		if err := unmount(filepath.Join(r.dir, "v")); err != nil {
			t.Errorf("unmount: %v", err)
		}
	}
	if err := os.RemoveAll(r.dir); err != nil {
		t.Error(err)
	}
}

// end kills a process and waits until it is gone.
func end(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Errorf("end process %s: %v", pid, err)
	}
	eventually(t, 10*time.Second, "the end of process "+pid, func() error {
		stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		if err == nil && !bytes.Contains(stat, []byte(") Z ")) {
			return errors.New("it lives")
		}
		return nil
	})
}

// eventually waits until what returns nil.
func eventually(t *testing.T, limit time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come within %s: %v", what, limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (r *rig) controller(name string) *controller {
	return &controller{data: filepath.Join(r.dir, name), config: filepath.Join(r.dir, "config"), log: filepath.Join(r.dir, name+".log")}
}

// start starts the controller and waits until it answers.
func (c *controller) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program, "serve", "--data", c.data, "--listen", "127.0.0.1:0")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+c.config)
	if err := os.Remove(filepath.Join(c.data, "api.url")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	c.cmd, c.ended = cmd, ended
	eventually(t, 30*time.Second, "an answer of the controller", func() error {
		url, err := os.ReadFile(filepath.Join(c.data, "api.url"))
		if err != nil {
			return err
		}
		token, err := os.ReadFile(filepath.Join(c.data, "token"))
		if err != nil {
			return err
		}
		c.Client = client.New(strings.TrimSpace(string(url)), strings.TrimSpace(string(token)))
		_, err = c.Version(t.Context())
		return err
	})
}

// kill ends the controller at once, as a crash would.
func (c *controller) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-c.ended
}

// run runs the program as a user of the controller would, and returns its exit code and what it wrote.
func (c *controller) run(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append(args, "--data", c.data)...)
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+c.config)
	b, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(b)
}

// must runs the program and fails the test when it fails.
func (c *controller) must(t *testing.T, args ...string) string {
	t.Helper()
	code, out := c.run(t, args...)
	if code != 0 {
		t.Fatalf("understudy %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// refused checks that the program refuses with an exit code, and says what helps.
func (c *controller) refused(t *testing.T, want int, args ...string) string {
	t.Helper()
	code, out := c.run(t, args...)
	if code != want || !strings.Contains(out, "hint: ") {
		t.Errorf("understudy %s: exit %d, want %d and a hint\n%s", strings.Join(args, " "), code, want, out)
	}
	return out
}

// configure tells a controller of a site, the vault and a policy.
func (c *controller) configure(t *testing.T, vault string, sites map[string]string) {
	t.Helper()
	for name, dir := range sites {
		if _, err := c.AddSite(t.Context(), wire.Site{Name: name, Provider: "qemu", Config: map[string]string{"dir": dir}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.AddVault(t.Context(), wire.Vault{Name: "main", URL: "file://" + vault}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutPolicy(t.Context(), wire.Policy{Name: "fast", RPO: wire.Duration(rpo), Keep: "all for 1h"}); err != nil {
		t.Fatal(err)
	}
}

const rpo = 2 * time.Second

// vm is a machine at east.
type vm struct {
	name, cmdline string
	port          int // of the guest; 0 for none
	disks         []string
}

var (
	// db appends numbered records, which it acknowledges when they are durable.
	db = vm{"db", "us.role=db us.interval=20ms", shop.Port, []string{"data"}}
	// scribe overwrites random blocks of its disk noise in an order that is known.
	scribe = vm{"scribe", "us.role=write us.interval=20ms us.disk=vdb", 0, []string{"data", "noise"}}
	// till is another db, of another group.
	till = vm{"till", "us.role=db us.interval=20ms", shop.Port, []string{"data"}}
)

// Disk sizes, in bytes.
const (
	dataSize  = 96 << 20
	noiseSize = 16 << 20
)

// define writes a machine's definition and its empty disks.
func (r *rig) define(t *testing.T, m vm) {
	t.Helper()
	var disks []string
	for _, d := range m.disks {
		size := int64(dataSize)
		if d == "noise" {
			size = noiseSize
		}
		if err := guest.EmptyDisk(t.Context(), r.image(m.name, d), "qcow2", size); err != nil {
			t.Fatal(err)
		}
		disks = append(disks, fmt.Sprintf("{name: %s, path: ../images/%s-%s.qcow2, format: qcow2}", d, m.name, d))
	}
	text := fmt.Sprintf(`name: %s
cpus: 1
memory: 160MiB
boot: {kernel: ../images/vmlinuz, initrd: ../images/initrd.gz, cmdline: "console=ttyS0 quiet %s"}
disks: [%s]
nics: [{network: access, forwards: [{guestPort: %d}]}]
agent: true
`, m.name, m.cmdline, strings.Join(disks, ", "), max(m.port, 1))
	if err := os.WriteFile(filepath.Join(r.dir, "east/machines", m.name+".yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// image is the file of a disk at east.
func (r *rig) image(machine, disk string) string {
	return filepath.Join(r.dir, "east/images", machine+"-"+disk+".qcow2")
}

// qemus are the processes of a machine at a site.
func (r *rig) qemus(t *testing.T, site, machine string) (pids []string) {
	t.Helper()
	for pid, line := range processes(t) {
		if strings.HasPrefix(line, "qemu-system-") && strings.Contains(line, "-name "+machine) && strings.Contains(line, r.dir+"/"+site+"/") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// starts is how many times a site started a machine.
func (r *rig) starts(t *testing.T, site, machine string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, site, "run", machine, "state.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s struct{ Generation int }
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return s.Generation
}

// address is where a guest's port is reachable.
func (r *rig) address(t *testing.T, site, machine string, port int) string {
	t.Helper()
	machines, err := r.main.ListMachines(t.Context(), site)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range machines {
		for _, n := range m.NICs {
			for _, f := range n.Forwards {
				if m.Name == machine && f.GuestPort == port && f.HostPort != 0 {
					return net.JoinHostPort("127.0.0.1", strconv.Itoa(f.HostPort))
				}
			}
		}
	}
	t.Fatalf("%s at %s forwards no port %d: %+v", machine, site, port, machines)
	return ""
}

// boot starts a db at east and waits for its acknowledgements.
func (r *rig) boot(t *testing.T, name string) *acks {
	t.Helper()
	if err := r.main.PowerMachine(t.Context(), "east", name, wire.Power{Action: "start"}); err != nil {
		t.Fatal(err)
	}
	return r.listen(t, "east", name)
}

// open opens the rig's vault.
func (r *rig) open(t *testing.T) *keyring.Opened {
	t.Helper()
	o := keyring.Opener{Homes: keyring.Homes{Config: filepath.Join(r.main.config, "understudy")}, Now: time.Now}
	v, err := o.Open(t.Context(), keyring.Place{URL: "file://" + r.vault})
	if err != nil {
		t.Fatal(err)
	}
	if !v.CanRead() {
		t.Fatal("the vault's key is not where it should be")
	}
	return v
}

// acks notes what a db acknowledges.
type acks struct {
	mu    sync.Mutex
	first uint64
	sums  []string
	times []time.Time
	err   error
	ended bool
}

// listen waits until a db answers, and notes its acknowledgements until its connection or the rig ends.
func (r *rig) listen(t *testing.T, site, machine string) *acks {
	t.Helper()
	addr := r.address(t, site, machine, shop.Port)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	r.t.Cleanup(func() { cancel(); <-done })
	a := &acks{}
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			err := shop.Watch(ctx, addr, a.add)
			a.mu.Lock()
			a.err = err
			over := len(a.sums) > 0
			a.ended = over
			a.mu.Unlock()
			if over {
				return
			}
			time.Sleep(100 * time.Millisecond) // the guest boots
		}
	}()
	eventually(t, 90*time.Second, "the first acknowledgement of "+machine, func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.sums) == 0 {
			return fmt.Errorf("none yet: %w", a.err)
		}
		return nil
	})
	return a
}

func (a *acks) add(ack shop.Ack) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.sums) == 0 {
		a.first = ack.Number
	}
	if want := a.first + uint64(len(a.sums)); ack.Number != want {
		return fmt.Errorf("acknowledgement %d follows %d", ack.Number, want-1)
	}
	a.sums, a.times = append(a.sums, ack.Sum), append(a.times, time.Now())
	return nil
}

// newest is the number of the newest acknowledged record.
func (a *acks) newest() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.first + uint64(len(a.sums)) - 1
}

// before is the newest record that was acknowledged before a moment.
func (a *acks) before(at time.Time) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(a.times)
	for n > 0 && !a.times[n-1].Before(at) {
		n--
	}
	return a.first + uint64(n) - 1
}

// sum is what was acknowledged for a record; empty when nothing was.
func (a *acks) sum(number uint64) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if number < a.first || number >= a.first+uint64(len(a.sums)) {
		return ""
	}
	return a.sums[number-a.first]
}

// goesOn waits for more acknowledgements.
func (a *acks) goesOn(t *testing.T) {
	t.Helper()
	want := a.newest() + 5
	eventually(t, 20*time.Second, "the next acknowledgements", func() error {
		if n := a.newest(); n < want {
			a.mu.Lock()
			defer a.mu.Unlock()
			return fmt.Errorf("at record %d, connection: %v", n, a.err)
		}
		return nil
	})
}

// silence is the longest time without an acknowledgement since a moment.
func (a *acks) silence(since time.Time) (longest time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := since
	for _, at := range append(a.times, time.Now()) {
		if at.After(since) {
			longest = max(longest, at.Sub(last))
			last = at
		}
	}
	return longest
}
