// Package fake is a site in memory for the tests of engines: machines whose disks a test reads and writes at any moment,
// captures that are true instants, change tracking that survives or is lost as the test says, and faults on request.
// It passes the same conformance suite as the real sites.
package fake

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// Op names what can fail.
type Op string

// Operations.
const (
	OpMachines  Op = "machines"
	OpCapture   Op = "capture"
	OpProvision Op = "provision"
	OpStart     Op = "start"
	OpStop      Op = "stop" // shutdown and kill
	OpHydrate   Op = "hydrate"
	OpProbe     Op = "probe"
	OpDelete    Op = "delete"
	OpFence     Op = "fence"
	OpRead      Op = "read"    // CapturedDisk.ReadAt
	OpChanges   Op = "changes" // CapturedDisk.Changes
	OpCommit    Op = "commit"  // the capture stays open
	OpAbort     Op = "abort"   // the capture stays open
)

// Site is a site in memory. All its methods are safe for concurrent use.
type Site struct {
	name string

	// Now is the site's clock, time.Now by default. Set it before use.
	Now func() time.Time
	// OpenSource opens the NBD URI of a provisioned disk. Without it such a disk reads as zeros where it was not
	// written. Set it before use.
	OpenSource func(uri string) (io.ReaderAt, error)
	// Exec runs a program in a running machine for Command. Set it before use.
	Exec func(ctx context.Context, machine string, c site.Command) (site.CommandResult, error)

	mu       sync.Mutex
	machines map[string]*machine
	life     int // counts restarts: a disk that was opened in an earlier life is closed
	faults   map[Op][]error
	hooks    map[Op]func()
	calls    map[Op]int
	noFreeze error // see RefuseFreeze
}

type machine struct {
	def         dr.Machine
	disks       map[string]*disk
	held        string
	isHeld      bool
	provisioned *site.ProvisionRequest
	console     []byte
	kept        map[string]view // the disks' former content, by name; nil without Preserve
}

// New makes an empty site.
func New(name string) *Site {
	return &Site{
		name: name, Now: time.Now,
		machines: map[string]*machine{}, faults: map[Op][]error{}, hooks: map[Op]func(){}, calls: map[Op]int{},
	}
}

// AddMachine adds a machine with disks of zeros, or replaces the one of that name. It runs when its Power is on.
func (s *Site) AddMachine(m dr.Machine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machines[m.Name] = s.newMachine(m)
}

// RemoveMachine removes a machine, as an administrator does.
func (s *Site) RemoveMachine(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.machines, name)
}

func (s *Site) newMachine(def dr.Machine) *machine {
	m := &machine{def: clone(def), disks: map[string]*disk{}}
	m.def.Provider = "fake"
	m.def.Power = cmp.Or(m.def.Power, dr.PowerOff)
	for _, d := range m.def.Disks {
		m.disks[d.Name] = newDisk(d.Size)
	}
	return m
}

// WriteDisk writes to a disk as a guest does. It panics when there is no such disk or the range lies outside it.
func (s *Site) WriteDisk(id dr.DiskID, off int64, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.disk(id)
	if err == nil {
		err = d.write(off, p)
	}
	if err != nil {
		panic(fmt.Sprintf("fake: write %s: %v", id, err))
	}
}

// ReadDisk returns n bytes of a disk at off as they are now. It panics when there is no such disk or the range lies
// outside it, or when its source cannot be read.
func (s *Site) ReadDisk(id dr.DiskID, off int64, n int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := make([]byte, n)
	d, err := s.disk(id)
	if err == nil {
		_, err = d.view.ReadAt(p, off)
	}
	if err != nil {
		panic(fmt.Sprintf("fake: read %s: %v", id, err))
	}
	return p
}

// ResizeDisk grows a disk, as an administrator does. The new area is not tracked as changed, as with real bitmaps.
func (s *Site) ResizeDisk(id dr.DiskID, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.disk(id)
	if err != nil {
		panic("fake: resize: " + err.Error())
	}
	d.view.size = size
	m := s.machines[id.Machine]
	for i := range m.def.Disks {
		if m.def.Disks[i].Name == id.Disk {
			m.def.Disks[i].Size = size
		}
	}
}

// LoseTracking forgets what changed on a disk, as a crash of the hypervisor does: the next capture is full.
func (s *Site) LoseTracking(id dr.DiskID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, err := s.disk(id); err == nil {
		d.tracks = map[string]*track{}
	}
}

// FailNext makes the next call of op fail with err; called again, the call after it, and so on.
func (s *Site) FailNext(op Op, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[op] = append(s.faults[op], err)
}

// OnNext runs f, without the site's lock, at the beginning of the next call of op, once.
func (s *Site) OnNext(op Op, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks[op] = f
}

// Calls counts the calls of op so far, failed ones too.
func (s *Site) Calls(op Op) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[op]
}

// Provisioned returns the request that created a machine.
func (s *Site) Provisioned(machine string) (site.ProvisionRequest, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.machines[machine]
	if m == nil || m.provisioned == nil {
		return site.ProvisionRequest{}, false
	}
	return *m.provisioned, true
}

// Held returns why a machine is fenced.
func (s *Site) Held(machine string) (reason string, held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.machines[machine]
	if m == nil {
		return "", false
	}
	return m.held, m.isHeld
}

// begin counts a call, runs its hook and takes its fault.
func (s *Site) begin(ctx context.Context, op Op) error {
	s.mu.Lock()
	s.calls[op]++
	hook := s.hooks[op]
	delete(s.hooks, op)
	var fault error
	if f := s.faults[op]; len(f) > 0 {
		fault, s.faults[op] = f[0], f[1:]
	}
	s.mu.Unlock()
	if hook != nil {
		hook()
	}
	if fault != nil {
		return fault
	}
	return context.Cause(ctx)
}

func (s *Site) machine(name string) (*machine, error) {
	m := s.machines[name]
	if m == nil {
		return nil, dr.WithHint(fmt.Errorf("machine %s: no such machine at site %s", name, s.name), dr.KindNotFound, "add the machine to the fake")
	}
	return m, nil
}

func (s *Site) disk(id dr.DiskID) (*disk, error) {
	m, err := s.machine(id.Machine)
	if err != nil {
		return nil, err
	}
	d := m.disks[id.Disk]
	if d == nil {
		return nil, dr.WithHint(fmt.Errorf("disk %s: no such disk", id), dr.KindNotFound, "add the disk to the machine")
	}
	return d, nil
}

// Machines implements site.Driver.
func (s *Site) Machines(ctx context.Context) ([]dr.Machine, error) {
	if err := s.begin(ctx, OpMachines); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []dr.Machine
	for _, name := range slices.Sorted(maps.Keys(s.machines)) {
		out = append(out, clone(s.machines[name].def))
	}
	return out, nil
}

// Provision implements site.Driver.
func (s *Site) Provision(ctx context.Context, req site.ProvisionRequest) error {
	if err := s.begin(ctx, OpProvision); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := req.Machine.Name
	if old := s.machines[name]; old != nil {
		if old.provisioned != nil && same(*old.provisioned, req) {
			return nil
		}
		return dr.WithHint(fmt.Errorf("provision %s: the machine exists", name), dr.KindConflict, "delete the machine")
	}
	for _, d := range req.Machine.Disks {
		if req.Sources[d.Name] == "" && d.Format != "" && d.Format != "raw" && d.Format != "qcow2" {
			return dr.WithHint(fmt.Errorf("provision %s: disk %s: no format %q", name, d.Name, d.Format), dr.KindInvalid, "use raw or qcow2")
		}
	}
	m := s.newMachine(req.Machine)
	m.def.Power, m.def.Owner = dr.PowerOff, req.Owner
	for name, uri := range req.Sources {
		d := m.disks[name]
		if d == nil {
			return dr.WithHint(fmt.Errorf("provision %s: source for an unknown disk %s", req.Machine.Name, name), dr.KindInvalid, "name a disk of the machine")
		}
		if s.OpenSource == nil {
			continue
		}
		r, err := s.OpenSource(uri)
		if err != nil {
			return fmt.Errorf("provision %s: disk %s: %w", req.Machine.Name, name, err)
		}
		d.view.base = r
	}
	m.provisioned = &req
	s.machines[name] = m
	return nil
}

// same compares what identifies a request: a resumed run may serve its sources elsewhere.
func same(a, b site.ProvisionRequest) bool {
	a.Sources, b.Sources = nil, nil
	a.Machine, b.Machine = clone(a.Machine), clone(b.Machine)
	a.Machine.Power, b.Machine.Power = "", ""
	a.Machine.Owner, b.Machine.Owner = "", ""
	return reflect.DeepEqual(a, b)
}

// Power implements site.Driver.
func (s *Site) Power(ctx context.Context, name string, action site.PowerAction) error {
	op := OpStop
	if action == site.PowerStart {
		op = OpStart
	}
	if err := s.begin(ctx, op); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.machine(name)
	if err != nil {
		return err
	}
	switch action {
	case site.PowerStart:
		if err := m.unopened("start"); err != nil {
			return err
		}
		if m.isHeld {
			return dr.WithHint(fmt.Errorf("start %s: held: %s", name, m.held), dr.KindFenced, "release the machine first")
		}
		m.def.Power = dr.PowerOn
	case site.PowerShutdown, site.PowerKill:
		m.def.Power = dr.PowerOff
	default:
		return dr.WithHint(fmt.Errorf("machine %s: unknown power action %q", name, action), dr.KindInvalid, "use start, shutdown or kill")
	}
	return nil
}

// Hydrate implements site.Driver.
func (s *Site) Hydrate(ctx context.Context, name string, progress func(done, total int64)) error {
	if err := s.begin(ctx, OpHydrate); err != nil {
		return err
	}
	s.mu.Lock()
	m, err := s.machine(name)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	var total int64
	for _, d := range m.disks {
		if err := d.hydrate(); err != nil {
			s.mu.Unlock()
			return fmt.Errorf("hydrate %s: %w", name, err)
		}
		total += d.view.size
	}
	s.mu.Unlock()
	if progress != nil {
		progress(total, total)
	}
	return nil
}

// Probe implements site.Driver: a running machine satisfies every probe that does not fail by FailNext.
func (s *Site) Probe(ctx context.Context, name string, _ dr.Probe) error {
	if err := s.begin(ctx, OpProbe); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.machine(name)
	if err != nil {
		return err
	}
	if m.def.Power != dr.PowerOn {
		return dr.WithHint(fmt.Errorf("probe %s: the machine is %s", name, m.def.Power), dr.KindUnavailable, "start the machine")
	}
	return nil
}

// Delete implements site.Driver.
func (s *Site) Delete(ctx context.Context, name string) error {
	if err := s.begin(ctx, OpDelete); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.machines[name]
	if m == nil {
		return nil
	}
	if m.provisioned == nil {
		return dr.WithHint(fmt.Errorf("delete %s: Understudy did not create it", name), dr.KindConflict, "remove it by hand if that is meant")
	}
	if err := m.unopened("delete"); err != nil {
		return err
	}
	delete(s.machines, name)
	return nil
}

// Fence implements site.Driver.
func (s *Site) Fence(ctx context.Context, name string, hold bool, reason string) error {
	if err := s.begin(ctx, OpFence); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.machine(name)
	if err != nil {
		return err
	}
	m.held, m.isHeld = "", hold
	if hold {
		m.held = reason
		m.def.Power = dr.PowerOff
	}
	return nil
}

func clone(m dr.Machine) dr.Machine {
	m.Disks = slices.Clone(m.Disks)
	m.NICs = slices.Clone(m.NICs)
	for i := range m.NICs {
		m.NICs[i].Forwards = slices.Clone(m.NICs[i].Forwards)
	}
	m.Tags = maps.Clone(m.Tags)
	m.Extensions = slices.Clone(m.Extensions)
	return m
}

var _ site.Driver = (*Site)(nil)
