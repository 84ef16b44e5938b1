// Package fleet makes a controller that protects thousands of machines which exist in memory only: real cycles into a
// real vault in memory, with a day of history, runs and events behind them. Pages and the API are tried on it at scale.
package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the controller's files

	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/history"
	"understudy/internal/keyring"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/internal/site/fake"
	"understudy/internal/store"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/mem"
)

// Options say how large a fleet is.
type Options struct {
	Dir    string // data folder of the controller; empty or not there
	Groups int    // of one machine each
	Runs   int    // that have ended
	Events int
	Sites  int
	RPO    time.Duration
	Logger *slog.Logger
}

// Validate returns an error for a fleet that cannot be.
func (o Options) Validate() error {
	if o.Dir == "" || o.Groups < 1 || o.Sites < 2 || o.RPO < time.Second {
		return errors.New("a fleet needs a folder, a group, two sites and an objective of a second")
	}
	return nil
}

// vaultName is the vault of all groups.
const vaultName = "main"

// policies are named for what they promise.
var policies = []string{"gold", "silver", "bronze"}

// Open makes a fleet and opens its controller. Its drivers and its vault end with the process.
func Open(ctx context.Context, o Options) (*controller.Controller, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	f := &fleet{o: o, sites: map[string]*fake.Site{}, blobs: mem.New(), rand: rand.New(rand.NewPCG(1, 2)), now: time.Now().UTC()}
	for _, step := range []func(context.Context) error{f.configure, f.protect, f.remember} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("make fleet: %w", err)
		}
	}
	return controller.Open(ctx, f.config())
}

type fleet struct {
	o     Options
	blobs *mem.Store
	rand  *rand.Rand
	now   time.Time

	mu    sync.Mutex
	sites map[string]*fake.Site
}

func (f *fleet) config() controller.Config {
	return controller.Config{
		Dir: f.o.Dir, Logger: f.o.Logger, Homes: keyring.Homes{Config: filepath.Join(f.o.Dir, "config"), State: filepath.Join(f.o.Dir, "state")},
		OpenSite:  func(s dr.Site) (site.Driver, error) { return f.site(s.Name), nil },
		OpenStore: func(string, bool) (blob.Store, error) { return f.blobs, nil },
	}
}

func (f *fleet) site(name string) *fake.Site {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sites[name] == nil {
		f.sites[name] = fake.New(name)
	}
	return f.sites[name]
}

func siteName(i int) string    { return fmt.Sprintf("site-%02d", i) }
func groupName(i int) string   { return fmt.Sprintf("app-%05d", i) }
func machineName(i int) string { return fmt.Sprintf("vm-%05d", i) }

// configure adds sites, a vault and policies as a person would.
func (f *fleet) configure(ctx context.Context) (err error) {
	c, err := controller.Open(ctx, f.config())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for i := range f.o.Sites {
		if err := c.AddSite(ctx, dr.Site{Name: siteName(i), Provider: "fake"}); err != nil {
			return err
		}
	}
	if _, _, _, err := c.AddVault(ctx, store.Vault{Name: vaultName, URL: filepath.Join(f.o.Dir, "vault")}, nil); err != nil {
		return err
	}
	for i, name := range policies {
		p := dr.DefaultPolicy()
		p.Name, p.RPO = name, f.o.RPO<<i
		if err := c.PutPolicy(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// group is the i-th group: its machine at one site, its target the next.
func (f *fleet) group(i int) dr.Group {
	at := i % f.o.Sites
	return dr.Group{Name: groupName(i), Site: siteName(at), Home: siteName(at), Target: siteName((at + 1) % f.o.Sites), Vault: vaultName,
		Policy: policies[i%len(policies)], Paused: i%97 == 5, Machines: []dr.MachinePolicy{{Name: machineName(i)}}}
}

// protect adds groups and machines. Some are proven, some long ago, some paused, and some run where they were failed
// over to.
func (f *fleet) protect(ctx context.Context) (err error) {
	s, err := store.Open(ctx, filepath.Join(f.o.Dir, "state.db"), store.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var statuses []store.GroupStatus
	for i := range f.o.Groups {
		g := f.group(i)
		f.site(g.Site).AddMachine(dr.Machine{Name: machineName(i), CPUs: 2, MemoryMiB: 4096, Power: dr.PowerOn, Disks: []dr.Disk{{Name: "root", Size: 64 << 10}}})
		if err := s.CreateGroup(ctx, g); err != nil {
			return err
		}
		p := store.Protection{Protection: dr.Protection{State: dr.StateProtected, Test: dr.TestNone}}
		switch {
		case g.Paused:
			p.State = dr.StatePaused
		case i%101 == 7:
			p.State, p.Run = dr.StateCommitted, fmt.Sprintf("failover-%d", i)
			if err := f.failedOver(ctx, s, g, p.Run); err != nil {
				return err
			}
		}
		if i%3 > 0 {
			p.ProvenAt, p.ProvenRTO, p.ProvenPoint = f.now.Add(-time.Duration(f.rand.IntN(150*24))*time.Hour), 14*time.Second, "1-1"
		}
		if _, err := s.ChangeProtection(ctx, g.Name, func(now *store.Protection) error { p.Group = now.Group; *now = p; return nil }); err != nil {
			return err
		}
		statuses = append(statuses, store.GroupStatus{Group: g.Name, State: "waiting", KnownGood: f.now.Add(-time.Duration(f.rand.IntN(int(f.o.RPO)))), LastPoint: "1-1", Updated: f.now})
	}
	if err := s.PutStatuses(ctx, statuses); err != nil {
		return err
	}
	return f.runs(ctx, s)
}

func (f *fleet) failedOver(ctx context.Context, s *store.Store, g dr.Group, id string) error {
	at := f.now.Add(-time.Hour)
	result, err := json.Marshal(recovery.Result{Point: "1-1", PointTime: at, Machines: []recovery.MachineResult{{Name: g.Machines[0].Name, Started: at}}})
	if err != nil {
		return err
	}
	return s.CreateRun(ctx, store.Run{ID: id, Kind: recovery.KindFailover, Group: g.Name, State: store.RunSucceeded, Requested: at, Started: at, Ended: at.Add(time.Minute),
		Result: result}, func(*store.Protection) error { return nil })
}

// runs records runs that have ended, and events.
func (f *fleet) runs(ctx context.Context, s *store.Store) error {
	same := func(*store.Protection) error { return nil }
	for i := range f.o.Runs {
		at := f.now.Add(-time.Duration(f.o.Runs-i) * time.Minute)
		r := store.Run{ID: fmt.Sprintf("run-%06d", i), Kind: []string{recovery.KindTest, recovery.KindDrill, recovery.KindCleanup}[i%3], Group: groupName(f.rand.IntN(f.o.Groups)),
			State: store.RunSucceeded, Requested: at, Started: at, Ended: at.Add(20 * time.Second), By: "seed"}
		if i%20 == 0 {
			r.State, r.Error = store.RunFailed, "the probe did not answer within 2m"
		}
		if err := s.CreateRun(ctx, r, same); err != nil {
			return err
		}
	}
	for i := range f.o.Events {
		e := store.Event{Time: f.now.Add(-time.Duration(f.o.Events-i) * time.Second), Kind: "run.ended", Group: groupName(f.rand.IntN(f.o.Groups)), Message: fmt.Sprintf("drill %d ended well", i)}
		if _, err := s.AppendEvent(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// remember writes a day of history: a cycle every quarter of an hour of every group.
func (f *fleet) remember(ctx context.Context) (err error) {
	at := f.now.Add(-24 * time.Hour)
	h, err := history.Open(ctx, filepath.Join(f.o.Dir, "history.db"), history.Options{Now: func() time.Time { return at }})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	for ; at.Before(f.now); at = at.Add(15 * time.Minute) {
		for i := range f.o.Groups {
			changed := int64(f.rand.IntN(1000)) << 12
			h.Add(groupName(i), history.Sample{Time: at, Lag: f.o.RPO + time.Duration(f.rand.IntN(int(f.o.RPO/2))), Changed: changed, Read: changed * 2, Stored: changed / 3,
				Took: time.Duration(f.rand.IntN(2000)) * time.Millisecond})
		}
		if err := h.Flush(ctx); err != nil {
			return err
		}
	}
	return nil
}
