package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"understudy/internal/api/wire"
	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/site"
	"understudy/internal/site/fake"
	"understudy/internal/vault/blob/mem"
)

// Names of the two sites.
const (
	east = "east"
	west = "west"
)

func other(site string) string {
	if site == east {
		return west
	}
	return east
}

// A place is a site of the world.
type place struct {
	*fake.Site
	name string
}

// A group is a protected group and what the world knows to be true of it. Its fields belong to the world's lock.
type group struct {
	name     string
	machines []string
	orders   []int
	site     string // where it was protected last

	lines    map[string]*line // by site
	captured map[int64]*write // by the time of the capture, in nanoseconds
	// floor is what any recovery of the newest point must hold: it was acknowledged before a copy that succeeded began.
	floor *write
	// newest is the floor from before the group was failed over, perhaps to an older point: while that is not committed the
	// newest point is still one of the former site's.
	newest *write
	// wants is what a run that was asked for must recover.
	wants wants
	epoch uint64
	off   map[string]bool // machines that were ended on purpose, as site/machine
	// excused says that machines may run at both sites for now: the one could not be reached, or not be held.
	excused bool
}

// A line is the history of a group's disks at one site.
type line struct {
	head *write
	// live says that the disks have been found to hold head, and the application writes to them.
	live bool
}

// wants is what a recovery must bring.
type wants struct {
	exact   *write // when known
	known   bool
	planned bool // everything
	floor   *write
}

// A world is two sites, the store of a vault, and a controller process that is made to fail.
type world struct {
	dir     string
	sites   map[string]*place
	store   *mem.Store
	faults  faults
	proc    *process
	groups  []*group
	ahead   atomic.Int64 // of the host's clock, in nanoseconds
	later   *time.Timer  // kills the controller
	retries map[retryKey]int

	mu         sync.Mutex
	nodes      map[uint64]*write
	seq        uint64
	acked      int // writes
	compared   int // recovered contents that were compared
	violations []string
	random     *rand.Rand // of the application

	quit chan struct{}
	done chan struct{}
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// newWorld builds the sites and starts the controller and the application.
func newWorld(dir string, seed uint64) (w *world, err error) {
	w = &world{dir: dir, sites: map[string]*place{}, store: mem.New(), nodes: map[uint64]*write{}, retries: map[retryKey]int{},
		random: rand.New(rand.NewPCG(seed, 1)), quit: make(chan struct{}), done: make(chan struct{})}
	for _, name := range []string{east, west} {
		p := &place{fake.New(name), name}
		p.Now = w.now
		p.OpenSource = func(uri string) (io.ReaderAt, error) { return source(uri), nil }
		w.sites[name] = p
	}
	w.groups = []*group{newGroup("shop", []string{"db", "web"}), newGroup("till", []string{"till"})}
	for _, g := range w.groups {
		for _, m := range g.machines {
			w.sites[east].AddMachine(dr.Machine{Name: m, CPUs: 1, MemoryMiB: 64, Power: dr.PowerOn, Agent: true,
				Disks: []dr.Disk{{Name: diskName, Size: diskSize}}, NICs: []dr.NIC{{Network: "lan"}}})
		}
		g.lines[east].live = true
	}
	go w.application()
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if err := w.start(); err != nil {
		return nil, err
	}
	return w, w.configure()
}

func newGroup(name string, machines []string) *group {
	g := &group{name: name, machines: machines, captured: map[int64]*write{}, off: map[string]bool{},
		lines: map[string]*line{east: {}, west: {}}}
	for i := range machines {
		g.orders = append(g.orders, i)
	}
	return g
}

// rpo is how often the groups are captured.
const rpo = time.Second

func (w *world) configure() error {
	ctx, stop := context.WithTimeout(context.Background(), apiTimeout)
	defer stop()
	c := w.proc.client
	for _, name := range []string{east, west} {
		if _, err := c.AddSite(ctx, wire.Site{Name: name, Provider: "fake"}); err != nil {
			return err
		}
	}
	if _, err := c.AddVault(ctx, wire.Vault{Name: "main", URL: "file://" + filepath.Join(w.dir, "vault")}); err != nil {
		return err
	}
	if _, err := c.PutPolicy(ctx, wire.Policy{Name: "fast", RPO: wire.Duration(rpo), Keep: "all for 10m, 1m for 1h"}); err != nil {
		return err
	}
	for _, g := range w.groups {
		if err := w.protect(ctx, g, east); err != nil {
			return err
		}
	}
	_, err := c.ApplyPlan(ctx, wire.PlanText{File: "shop.yaml", Text: w.planText()})
	return err
}

func (w *world) protect(ctx context.Context, g *group, at string) error {
	v := wire.Group{Name: g.name, Site: at, Target: other(at), Vault: "main", Policy: "fast"}
	for i, m := range g.machines {
		v.Machines = append(v.Machines, wire.GroupMachine{Name: m, Order: g.orders[i]})
	}
	g.site = at
	_, err := w.proc.client.Protect(ctx, v)
	return err
}

// close ends everything that the world has and removes its folder.
func (w *world) close() error {
	close(w.quit)
	<-w.done
	if w.proc != nil {
		w.proc.kill()
		<-w.proc.gone
	}
	return os.RemoveAll(w.dir)
}

// violate notes that something is not as it must be.
func (w *world) violate(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violateLocked(format, args...)
}

func (w *world) violateLocked(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(w.violations, text) {
		w.violations = append(w.violations, text)
	}
}

func (w *world) violated() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.violations)
}

// source reads an export as a machine does that connects again after the controller was away.
type source string

func (s source) ReadAt(p []byte, off int64) (int, error) {
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	c, err := nbd.Dial(ctx, string(s), nbd.DialOptions{})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.ReadAt(p, off)
}

// application writes to the disks of the machines that run, all the time.
func (w *world) application() {
	defer close(w.done)
	tick := time.NewTicker(4 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-w.quit:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		for _, g := range w.groups {
			for _, p := range w.sites {
				w.write(g, p)
			}
		}
		w.mu.Unlock()
	}
}

// write has a group's application write once at a site, when it runs there. It needs the lock.
func (w *world) write(g *group, p *place) {
	l := g.lines[p.name]
	m := g.machines[w.random.IntN(len(g.machines))]
	if !l.live || w.powers(p)[m] != dr.PowerOn {
		return
	}
	n := &write{seq: w.seq + 1, parent: l.head, at: slot{m, w.random.Int64N(diskBlocks)}}
	if err := guarded(func() { p.WriteDisk(dr.DiskID{Machine: m, Disk: diskName}, n.at.block*dr.BlockSize, n.block()) }); err != nil {
		return // a read of what the block was failed: the guest sees an error, and nothing was written
	}
	w.seq++
	w.nodes[n.seq], l.head = n, n
	w.acked++
}

// guarded turns the fake site's panics into errors.
func guarded(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	f()
	return nil
}

// powers maps the machines of a site to their power.
func (w *world) powers(p *place) map[string]dr.Power {
	list, err := p.Machines(context.Background())
	if err != nil {
		panic(err) // the fake's faults are not used
	}
	found := map[string]dr.Power{}
	for _, m := range list {
		found[m.Name] = m.Power
	}
	return found
}

// groupOf finds the group and the name in it of a machine, which a copy's name begins with.
func (w *world) groupOf(machine string) (*group, string) {
	for _, g := range w.groups {
		for _, m := range g.machines {
			if machine == m || strings.HasPrefix(machine, m+"-") {
				return g, m
			}
		}
	}
	return nil, ""
}

// capture makes a capture and notes what it must hold.
func (w *world) capture(ctx context.Context, p *place, req site.CaptureRequest) (site.Capture, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, err := p.Capture(ctx, req)
	if err != nil {
		return nil, err
	}
	for _, g := range w.groups {
		if g.name == req.Group {
			g.captured[c.Time().UnixNano()] = g.lines[p.name].head
		}
	}
	return c, nil
}

func (w *world) provision(ctx context.Context, p *place, req site.ProvisionRequest) error {
	_, before := p.Provisioned(req.Machine.Name)
	if err := p.Provision(ctx, req); err != nil {
		return err
	}
	if !before {
		w.rewritten(p.name, req.Machine.Name)
	}
	return nil
}

// rewritten notes that a machine's disks are no longer what the application left.
func (w *world) rewritten(at, machine string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.groups {
		if slices.Contains(g.machines, machine) {
			g.lines[at].live = false
		}
	}
}

func (w *world) remove(ctx context.Context, p *place, machine string) error {
	err := p.Delete(ctx, machine)
	if err == nil {
		w.rewritten(p.name, machine)
	}
	return err
}

func (w *world) settle(ctx context.Context, p *place, a settleArgs) error {
	if !a.Accept && p.Preserved(a.Machine) {
		w.rewritten(p.name, a.Machine)
	}
	return p.Settle(ctx, a.Machine, a.Accept)
}

func (w *world) fence(ctx context.Context, p *place, a fenceArgs) error {
	return p.Fence(ctx, a.Machine, a.Hold, a.Reason)
}

// power changes a machine's power. One that starts must be alone, and hold what it must.
func (w *world) power(ctx context.Context, p *place, machine string, action site.PowerAction) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.powers(p)[machine]
	if err := p.Power(ctx, machine, action); err != nil {
		return err
	}
	if action != site.PowerStart || was == dr.PowerOn {
		return nil
	}
	g, name := w.groupOf(machine)
	if g == nil {
		return nil
	}
	if machine == name {
		o := w.sites[other(p.name)]
		if w.powers(o)[machine] == dr.PowerOn && !g.excused {
			w.violateLocked("%s runs at both sites: it was started at %s", machine, p.name)
		}
		w.started(g, p)
		return nil
	}
	if req, ok := p.Provisioned(machine); ok && req.Isolation != "" {
		w.rehearsed(g, p, req.Isolation)
	}
	return nil
}

// read is what the disks of a group's machines hold, under the names that they have at a site.
func (w *world) read(p *place, names map[string]string) (map[slot]uint64, error) {
	c := map[slot]uint64{}
	for m, as := range names {
		var disk []byte
		if err := guarded(func() { disk = p.ReadDisk(dr.DiskID{Machine: as, Disk: diskName}, 0, diskSize) }); err != nil {
			return nil, errUnreadable
		}
		if err := decode(m, disk, c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// errUnreadable says that disks cannot be compared now: the controller that serves them is dead.
var errUnreadable = errors.New("the disks cannot be read now")

// started looks at a group of which a machine was started at a site. When all of them run there their disks must hold
// what they held when they stopped or, when they were recovered, what was captured. It needs the lock.
func (w *world) started(g *group, p *place) {
	names := map[string]string{}
	powers := w.powers(p)
	for _, m := range g.machines {
		if powers[m] != dr.PowerOn {
			return
		}
		names[m] = m
	}
	l := g.lines[p.name]
	c, err := w.read(p, names)
	if errors.Is(err, errUnreadable) {
		return // adopted later
	}
	if err == nil && l.live {
		if err = l.head.differs(c); err != nil {
			w.violateLocked("%s at %s started again without all that it had: %v", g.name, p.name, err)
		}
		if !l.head.holds(g.floor) {
			g.floor = nil // a split brain was ended for this site
		}
		return
	}
	var n *write
	if err == nil {
		n, err = match(w.nodes, c)
	}
	w.compared++
	switch {
	case err != nil:
		w.violateLocked("%s at %s holds no moment of the application: %v", g.name, p.name, err)
	case g.wants.known && n != g.wants.exact:
		w.violateLocked("%s at %s holds %s, it must be %s", g.name, p.name, n, g.wants.exact)
	case g.wants.planned && n != g.lines[other(p.name)].head:
		w.violateLocked("%s at %s holds %s after a planned failover, %s had %s", g.name, p.name, n, other(p.name), g.lines[other(p.name)].head)
	case !n.holds(g.wants.floor):
		w.violateLocked("%s at %s holds %s: %s was acknowledged before a copy that succeeded, and is lost", g.name, p.name, n, g.wants.floor)
	case !slices.Contains(slices.Collect(maps.Values(g.captured)), n):
		w.violateLocked("%s at %s holds %s, which no capture was made of", g.name, p.name, n)
	}
	l.head, l.live = n, true
	g.floor = n
}

// rehearsed looks at a group of which a copy was started in isolation. It needs the lock.
func (w *world) rehearsed(g *group, p *place, isolation string) {
	list, err := p.Machines(context.Background())
	if err != nil {
		panic(err)
	}
	names := map[string]string{}
	for _, m := range list {
		req, ok := p.Provisioned(m.Name)
		if of, name := w.groupOf(m.Name); ok && req.Isolation == isolation && of == g && m.Power == dr.PowerOn {
			names[name] = m.Name
		}
	}
	if len(names) < len(g.machines) {
		return
	}
	c, err := w.read(p, names)
	if errors.Is(err, errUnreadable) {
		return
	}
	var n *write
	if err == nil {
		n, err = match(w.nodes, c)
	}
	w.compared++
	switch {
	case err != nil:
		w.violateLocked("the rehearsal of %s at %s holds no moment of the application: %v", g.name, p.name, err)
	case !n.holds(g.wants.floor):
		w.violateLocked("the rehearsal of %s at %s holds %s: %s was acknowledged before a copy that succeeded", g.name, p.name, n, g.wants.floor)
	}
}
