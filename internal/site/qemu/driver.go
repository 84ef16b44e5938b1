// Package qemu is a site whose machines are QEMU processes on this host.
//
// A site is a folder:
//
//	machines/NAME.yaml   definitions, one per machine (see definition.go)
//	disks/NAME/          disks of machines that Provision created
//	kept/NAME/           layers over disks whose content is kept (see preserve.go)
//	held/NAME.json       fences: while it exists, the machine does not start
//	run/NAME/            state.json, qemu.pid, qemu.log, console.log of the machine's latest boot
//	run/s/               unix sockets; elsewhere when their paths would be too long
//
// QEMU processes belong to the site and not to the controller: they have a session of their own, outlive the Driver
// that started them, and are found again by the next Driver on the same folder. QEMU's monitor serves one client at a
// time, so two controllers can never steer one machine at once.
package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"understudy/internal/dr"
)

// Config describes a site.
type Config struct {
	// Dir is the folder of the site. It is created when missing.
	Dir string
	// SocketDir holds the unix sockets. Empty means Dir/run/s, or a private folder below the system's temporary folder
	// when that path is too long for a unix socket.
	SocketDir string
	// SwitchCommand starts a network switch when a unix socket's path is appended to it: the program must call
	// lanswitch.Main. Machines with a NIC without forwards need it.
	SwitchCommand []string
	// Services are what the site's guests may reach on this host. ConnectCommand joins a guest to one when its address is
	// appended: it copies between its standard input and output and that server.
	Services       []Service
	ConnectCommand []string
	// Binary is the emulator, qemu-system-x86_64 by default; ImageTool is qemu-img by default.
	Binary, ImageTool string
	// Accel forces an accelerator, kvm or tcg. Empty means kvm where a guest really runs with it, tcg elsewhere.
	Accel string
	// FleeceLimit bounds, in bytes, what a capture may set aside per disk for data that the guest overwrites meanwhile.
	// 0 lets the driver choose.
	FleeceLimit int64
	// FleeceTimeout bounds how long one write of a guest may wait for that store before the capture, and never the guest,
	// suffers. 0 lets the driver choose.
	FleeceTimeout time.Duration
	// TrackingGranularity is the size in bytes, a power of two, of the areas in which changes are tracked. 0 lets the
	// driver choose.
	TrackingGranularity int
	Logger              *slog.Logger
}

// Driver runs the machines of one site. It implements site.Driver.
type Driver struct {
	cfg Config
	log *slog.Logger

	accel   func(context.Context) (string, error)
	ports   ports
	closed  atomic.Bool
	burials sync.WaitGroup // of processes that this controller started; each lasts as long as its process

	captures captures

	mu       sync.Mutex
	machines map[string]*machine // every machine ever asked for; a machine's identity is its name
}

// New opens the site at cfg.Dir and adopts the machines that run there: one that stands still because an earlier
// controller died in the middle of a capture goes on.
func New(cfg Config) (*Driver, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil || cfg.Dir == "" {
		return nil, dr.WithHint(fmt.Errorf("qemu site: no folder: %w", err), dr.KindInvalid, "set the site's dir")
	}
	cfg.Dir = dir
	cfg.Binary = cmp.Or(cfg.Binary, "qemu-system-x86_64")
	cfg.ImageTool = cmp.Or(cfg.ImageTool, "qemu-img")
	cfg.SocketDir, err = socketDir(cfg)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"machines", "disks", "held", "run"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("qemu site: %w", err)
		}
	}
	d := &Driver{cfg: cfg, log: cfg.Logger, machines: map[string]*machine{}}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.accel = d.chooseAccel()
	d.adopt()
	return d, nil
}

// Close gives up the connections to the machines, which go on running, and the disks that are open.
func (d *Driver) Close() error {
	d.closed.Store(true)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.machines {
		m.disconnect()
		m.dropOpened()
	}
	return nil
}

const (
	// contactTimeout bounds the first contact with a machine that an earlier controller left.
	contactTimeout = 3 * time.Second
	// adoptTimeout bounds its adoption as a whole, in which the guest's agent may have to thaw file systems.
	adoptTimeout = 12 * time.Second
)

func (d *Driver) adopt() {
	entries, _ := os.ReadDir(filepath.Join(d.cfg.Dir, "run"))
	var wg sync.WaitGroup
	for _, e := range entries {
		if !e.IsDir() || checkName(e.Name()) != nil {
			continue
		}
		m := d.handle(e.Name())
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), adoptTimeout)
			defer cancel()
			if err := m.adopt(ctx); err != nil {
				d.log.Warn("machine not adopted", "machine", m.name, "error", err)
			}
		})
	}
	wg.Wait()
}

// handle returns the one machine value of a name, whether or not such a machine is defined.
func (d *Driver) handle(name string) *machine {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.machines[name]
	if m == nil {
		m = newMachine(d, name)
		d.machines[name] = m
	}
	return m
}

// machine returns the machine of that name with its definition read anew.
func (d *Driver) machine(name string) (*machine, error) {
	if err := checkName(name); err != nil {
		return nil, dr.WithHint(err, dr.KindNotFound, "list the site's machines: understudy machine list")
	}
	m := d.handle(name)
	if err := m.load(); err != nil {
		return nil, err
	}
	return m, nil
}

// definitions is the folder of the machines' definitions, which every site has.
func (d *Driver) definitions() string { return filepath.Join(d.cfg.Dir, "machines") }

// present says why the site is not there: a disk that is not mounted, or a site that is lost. What it had is not known then
// to be gone.
func (d *Driver) present() error {
	if _, err := os.Stat(d.definitions()); err != nil {
		return dr.WithHint(fmt.Errorf("site %s is not there: %w", d.cfg.Dir, err), dr.KindUnavailable, "mount it again; when it is lost, fail its groups over")
	}
	return nil
}

// Machines lists the machines of the site. With an error about a definition that cannot be read come the machines
// whose definitions can.
func (d *Driver) Machines(ctx context.Context) ([]dr.Machine, error) {
	if err := d.present(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(d.definitions())
	if err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok && !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	found := make([]*dr.Machine, len(names))
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	gate := make(chan struct{}, 16)
	for i, name := range names {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			m, err := d.machine(name)
			if err != nil {
				errs[i] = err
				return
			}
			seen := m.observe(ctx)
			found[i] = &seen
		})
	}
	wg.Wait()
	var out []dr.Machine
	for _, m := range found {
		if m != nil {
			out = append(out, *m)
		}
	}
	return out, errors.Join(errs...)
}
