package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site/qemu/qmp"
)

// machine is one machine of the site, known by its name for as long as the Driver lives. Capture and the life cycle
// share it: whatever changes the machine's process, its block graph or its image files holds lock, for short steps and
// never for as long as a capture is read or a disk hydrates.
type machine struct {
	d    *Driver
	name string
	sem  chan struct{} // holds one token while the machine is locked

	mu      sync.Mutex
	loading sync.Mutex      // held while the definition is read
	spec    *definition     // as last read; nil before
	client  *qmp.Client     // nil when not connected
	dialing chan struct{}   // closed when the dial under way has ended; nil without one
	exited  <-chan struct{} // closed when the latest process that this controller started has ended
	opened  map[*openDisk]struct{}
	yield   context.CancelFunc // asks the holder of the lock to give it up soon; nil when it cannot
}

func newMachine(d *Driver, name string) *machine {
	return &machine{d: d, name: name, sem: make(chan struct{}, 1)}
}

// lock waits for the machine's lock; unlock gives it back.
func (m *machine) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case m.sem <- struct{}{}:
		return sync.OnceFunc(func() { <-m.sem }), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("machine %s: busy: %w", m.name, context.Cause(ctx))
	}
}

// load reads the definition.
func (m *machine) load() error {
	m.loading.Lock() // so that what was read later stays
	defer m.loading.Unlock()
	spec, err := m.readSpec()
	if errors.Is(err, os.ErrNotExist) {
		if err := m.d.present(); err != nil {
			return err
		}
		return dr.WithHint(fmt.Errorf("machine %s: no such machine at site %s", m.name, m.d.cfg.Dir), dr.KindNotFound,
			"list the site's machines: understudy machine list")
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.spec = spec
	m.mu.Unlock()
	return nil
}

// readSpec reads the definition and puts the layers over its disks. A layer may go away between the two.
func (m *machine) readSpec() (*definition, error) {
	for try := 1; ; try++ {
		spec, err := readDefinition(m.d.definitionPath(m.name))
		if err != nil {
			return nil, err
		}
		err = m.putLayers(spec)
		if err == nil {
			return spec, nil
		}
		if !errors.Is(err, os.ErrNotExist) || try == 3 {
			// The layer is missing, not the machine.
			return nil, dr.WithHint(errors.New(err.Error()), dr.KindOf(err), cmp.Or(dr.Hint(err), "see "+m.keptPath()))
		}
	}
}

// def is the machine as its definition describes it, with absolute disk paths, formats and the sizes found when it was
// last read; host ports that the site is free to choose are 0 in it. The caller may change it.
func (m *machine) def() dr.Machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.spec == nil {
		return dr.Machine{Name: m.name}
	}
	return cloneMachine(m.spec.Machine)
}

func (m *machine) definition() *definition {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.spec
}

// dir holds the machine's state and logs.
func (m *machine) dir() string { return filepath.Join(m.d.cfg.Dir, "run", m.name) }

// running reports whether the machine has a QEMU process, whatever the guest does. It holds while the caller has the
// lock, unless QEMU dies.
func (m *machine) running() bool {
	s, err := m.readState()
	return err == nil && m.alive(s)
}

// generation counts the machine's starts; it names one life of its QEMU process.
func (m *machine) generation() uint64 {
	s, err := m.readState()
	if err != nil {
		return 0
	}
	return s.Generation
}

// dialTimeout bounds the connection to a monitor whose QEMU is alive.
const dialTimeout = 10 * time.Second

// monitor returns the connection to the running machine's monitor, made on demand and shared: callers do not close it.
// Its error is KindUnavailable when the machine does not run.
func (m *machine) monitor(ctx context.Context) (*qmp.Client, error) {
	for {
		m.mu.Lock()
		if m.client != nil {
			select {
			case <-m.client.Done():
				m.client = nil
			default:
				c := m.client
				m.mu.Unlock()
				return c, nil
			}
		}
		if wait := m.dialing; wait != nil {
			m.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, fmt.Errorf("machine %s: monitor: %w", m.name, context.Cause(ctx))
			}
		}
		done := make(chan struct{})
		m.dialing = done
		m.mu.Unlock()

		c, err := m.dial(ctx)
		m.mu.Lock()
		m.client, m.dialing = c, nil // nobody else sets the client while dialing is set
		m.mu.Unlock()
		close(done)
		if err != nil {
			return nil, fmt.Errorf("machine %s: monitor: %w", m.name, err)
		}
		return c, nil
	}
}

func (m *machine) dial(ctx context.Context) (*qmp.Client, error) {
	if !m.running() {
		return nil, dr.WithHint(errors.New("the machine is not running"), dr.KindUnavailable, "start the machine")
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return qmp.Dial(ctx, m.d.socket(m.name, "qmp"))
}

// disconnect gives up the monitor connection.
func (m *machine) disconnect() {
	m.mu.Lock()
	c := m.client
	m.client = nil
	m.mu.Unlock()
	if c != nil {
		_ = c.Close()
	}
}

// runState is QEMU's answer to query-status.
type runState struct {
	Running bool   `json:"running"`
	Status  string `json:"status"` // running, paused, io-error, shutdown, ...
}

func (m *machine) status(ctx context.Context) (runState, error) {
	c, err := m.monitor(ctx)
	if err != nil {
		return runState{}, err
	}
	var s runState
	if err := c.Run(ctx, "query-status", nil, &s); err != nil {
		return s, fmt.Errorf("machine %s: %w", m.name, err)
	}
	return s, nil
}

// adopt takes over a machine that an earlier controller may have left running, and takes down what a capture left in it:
// a guest must not stand still, stay frozen or write through a filter because a controller died.
func (m *machine) adopt(ctx context.Context) error {
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := m.readState()
	if err != nil {
		return err
	}
	if !m.alive(s) {
		return m.noteExit(s)
	}
	contact, cancel := context.WithTimeout(ctx, contactTimeout)
	defer cancel()
	c, err := m.monitor(contact)
	if err != nil {
		return err
	}
	if err := m.sweep(ctx, c, true, nil); err != nil {
		return err
	}
	m.rouseSoon(ctx)
	k, err := m.readKept()
	if err != nil || k == nil || !k.Accepting {
		return err
	}
	return m.endSwitch(ctx, c, k)
}

// observeTimeout bounds the question for one machine's power state.
const observeTimeout = 2 * time.Second

// observe is the machine as it is now: with its power state, its owner and the host ports in use.
func (m *machine) observe(ctx context.Context) dr.Machine {
	def := m.def()
	spec := m.definition()
	if spec.Provisioned != nil {
		def.Owner = spec.Provisioned.Owner
	}
	for i := range def.Disks {
		if l, ok := spec.Layers[def.Disks[i].Name]; ok {
			def.Disks[i].Path, def.Disks[i].Format = l.Path, l.Format
		}
	}
	s, err := m.readState()
	if err != nil {
		def.Power = dr.PowerUnknown
		return def
	}
	if !m.alive(s) {
		def.Power = dr.PowerOff
		return def
	}
	for i := range def.NICs {
		for j := range def.NICs[i].Forwards {
			f := &def.NICs[i].Forwards[j]
			if p, ok := s.hostPort(i, f.GuestPort); ok {
				f.HostPort = p
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	st, err := m.status(ctx)
	switch {
	case err != nil:
		def.Power = dr.PowerUnknown
	case st.Running:
		def.Power = dr.PowerOn
	case st.Status == "shutdown" || st.Status == "guest-panicked":
		def.Power = dr.PowerOff
	default:
		def.Power = dr.PowerPaused
	}
	return def
}

func cloneMachine(m dr.Machine) dr.Machine {
	m.Disks = slices.Clone(m.Disks)
	m.NICs = slices.Clone(m.NICs)
	for i := range m.NICs {
		m.NICs[i].Forwards = slices.Clone(m.NICs[i].Forwards)
	}
	if m.Tags != nil {
		tags := make(map[string]string, len(m.Tags))
		for k, v := range m.Tags {
			tags[k] = v
		}
		m.Tags = tags
	}
	return m
}
