package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"understudy/internal/dr"
	"understudy/internal/extension"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/internal/store"
)

// Times of observing extensions.
const (
	observeEvery    = time.Minute
	observeTimeout  = 45 * time.Second
	inventoriesKept = 30 * 24 * time.Hour

	groupsAtATime = 4 // are observed
)

// extensions is what the controller knows of the extensions of machines.
type extensions struct {
	c       *Controller
	manager *extension.Manager
	now     chan struct{} // asks to observe now

	mu   sync.Mutex
	seen map[machineAt]store.Inventory // the newest; also in the store
}

type machineAt struct{ site, machine string }

// openExtensions loads what was seen before.
func (c *Controller) openExtensions(ctx context.Context) (*extensions, error) {
	x := &extensions{c: c, now: make(chan struct{}, 1), seen: map[machineAt]store.Inventory{}}
	x.manager = extension.New(extension.Options{
		Driver: func(ctx context.Context, name string) (site.Driver, error) { return c.driver(ctx, name) },
		Site:   func(ctx context.Context, name string) (dr.Site, error) { return c.store.Site(ctx, name) },
		Catalogue: func(ctx context.Context) (extension.Catalogue, error) {
			all, _, err := c.catalogue(ctx)
			return all, err
		},
		Logger: c.log,
	})
	list, err := c.store.Inventories(ctx)
	for _, v := range list {
		x.seen[machineAt{v.Site, v.Machine}] = v
	}
	return x, err
}

// catalogue is the entries that come with the program and those that were added, and the texts of the latter.
func (c *Controller) catalogue(ctx context.Context) (extension.Catalogue, map[string]store.ExtensionEntry, error) {
	all, err := extension.Builtin()
	if err != nil {
		return nil, nil, err
	}
	list, err := c.store.ExtensionEntries(ctx)
	added := map[string]store.ExtensionEntry{}
	for _, v := range list {
		// A newer version of the program may read an entry more strictly: the others are still good.
		e, perr := extension.Parse(v.Name, []byte(v.Text))
		if perr != nil {
			c.log.Warn("read extension", "name", v.Name, "err", perr)
			continue
		}
		added[v.Name] = v
		all = all.With(e)
	}
	return all, added, err
}

// run observes now and then, and when asked, until ctx ends.
func (x *extensions) run(ctx context.Context) error {
	tick := time.NewTicker(observeEvery)
	defer tick.Stop()
	for {
		x.observeAll(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-x.now:
		}
	}
}

// kick asks to observe now.
func (x *extensions) kick() {
	select {
	case x.now <- struct{}{}:
	default:
	}
}

func (x *extensions) observeAll(ctx context.Context) {
	groups, err := x.c.store.Groups(ctx)
	if err != nil && ctx.Err() == nil {
		x.c.log.Error("list groups", "err", err)
	}
	var some errgroup.Group
	some.SetLimit(groupsAtATime)
	for _, g := range groups {
		some.Go(func() error {
			var names []string
			for _, m := range g.Machines {
				names = append(names, m.Name)
			}
			if err := x.observe(ctx, g, names); err != nil && ctx.Err() == nil {
				x.c.log.Debug("observe extensions", "group", g.Name, "err", err)
			}
			return nil
		})
	}
	_ = some.Wait() // each says itself what went wrong
	if _, err := x.c.store.PruneInventories(ctx, x.c.cfg.Now().Add(-inventoriesKept)); err != nil && ctx.Err() == nil {
		x.c.log.Warn("forget old inventories", "err", err)
	}
}

// observe looks at machines of a group where it runs, and keeps what it sees.
func (x *extensions) observe(ctx context.Context, g dr.Group, machines []string) error {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	running, err := x.running(ctx, g.Site, machines)
	if err != nil || len(running) == 0 {
		return err
	}
	before := map[string][]dr.Extension{}
	for _, name := range running {
		before[name] = x.wanted(g, name)
	}
	found, err := x.manager.Observe(ctx, g.Site, running, before)
	if err != nil {
		return err
	}
	var list []store.Inventory
	for _, name := range slices.Sorted(maps.Keys(found)) {
		list = append(list, store.Inventory{Site: g.Site, Machine: name, Observed: x.c.cfg.Now().UTC(), Extensions: found[name]})
	}
	x.keep(ctx, g.Name, list)
	return x.c.store.PutInventories(ctx, list)
}

// running are those of the machines that the site runs now.
func (x *extensions) running(ctx context.Context, siteName string, machines []string) ([]string, error) {
	d, err := x.c.driver(ctx, siteName)
	if err != nil {
		return nil, err
	}
	_, commands := d.(site.Commander)
	if _, native := d.(site.Extender); !commands && !native {
		return nil, nil
	}
	there, err := d.Machines(ctx)
	var out []string
	for _, m := range there {
		if slices.Contains(machines, m.Name) && m.Power == dr.PowerOn && (m.Agent || m.Provider != "qemu") {
			out = append(out, m.Name)
		}
	}
	return out, err
}

// wanted is the inventory of a machine of a group: what was seen at its site and, of extensions never seen there, what
// was seen at another.
func (x *extensions) wanted(g dr.Group, machine string) []dr.Extension {
	x.mu.Lock()
	defer x.mu.Unlock()
	var list []dr.Extension
	for _, s := range []string{g.Site, g.Target, g.Home} {
		for _, e := range x.seen[machineAt{s, machine}].Extensions {
			if !slices.ContainsFunc(list, func(have dr.Extension) bool { return have.Name == e.Name }) {
				list = append(list, e)
			}
		}
	}
	return list
}

// saw reports whether a machine of a group was looked at, at any of its sites.
func (x *extensions) saw(g dr.Group, machine string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.ContainsFunc([]string{g.Site, g.Target, g.Home}, func(s string) bool {
		_, ok := x.seen[machineAt{s, machine}]
		return ok
	})
}

// keep remembers what was seen, and tells of what became of an extension since.
func (x *extensions) keep(ctx context.Context, group string, list []store.Inventory) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, v := range list {
		at := machineAt{v.Site, v.Machine}
		for _, e := range v.Extensions {
			i := slices.IndexFunc(x.seen[at].Extensions, func(b dr.Extension) bool { return b.Name == e.Name })
			before := dr.ExtensionUnknown
			if i >= 0 {
				before = x.seen[at].Extensions[i].Status
			}
			if e.Status == before || e.Status == dr.ExtensionUnknown || (i < 0 && e.Status == dr.ExtensionHealthy) {
				continue
			}
			text := fmt.Sprintf("%s on %s/%s is %s", e.Name, v.Site, v.Machine, e.Status)
			if e.Message != "" {
				text += ": " + e.Message
			}
			if _, err := x.c.store.AppendEvent(ctx, store.Event{Kind: "extension." + string(e.Status), Group: group, Message: text}); err != nil {
				x.c.log.Warn("append event", "err", err)
			}
		}
		x.seen[at] = v
	}
}

// describe adds to machines what they were last seen to have at a site.
func (x *extensions) describe(g dr.Group) func([]dr.Machine) []dr.Machine {
	return func(machines []dr.Machine) []dr.Machine {
		for i, m := range machines {
			machines[i].Extensions = extension.Inventory(x.wanted(g, m.Name))
		}
		return machines
	}
}

// ailing describes what is wrong with the extensions of a group where it runs.
func (x *extensions) ailing(g dr.Group) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var list []string
	for _, m := range g.Machines {
		for _, e := range x.seen[machineAt{g.Site, m.Name}].Extensions {
			if e.Status != dr.ExtensionHealthy && e.Status != dr.ExtensionUnknown {
				text := fmt.Sprintf("%s on %s is %s", e.Name, m.Name, e.Status)
				if e.Message != "" {
					text += ": " + e.Message
				}
				list = append(list, text)
			}
		}
	}
	return strings.Join(list, "; ")
}

// warnOfExtensions adds to a status that extensions are not healthy, unless it warns of something else.
func (c *Controller) warnOfExtensions(s *Status) {
	if text := c.extensions.ailing(s.Group); text != "" && s.Warning == "" {
		s.Warning, s.WarningHint = text, "understudy extension restore "+s.Group.Name
	}
}

// Restore implements recovery.Extensions.
func (x *extensions) Restore(ctx context.Context, q recovery.ExtensionRequest) ([]dr.ExtensionResult, error) {
	g, err := x.c.store.Group(ctx, q.Group)
	if err != nil {
		return nil, err
	}
	r := extension.Request{Source: q.Source, Target: q.Target, As: q.As, Rehearsal: q.Rehearsal, Say: q.Say}
	for _, m := range q.Machines {
		// Points that were made before the machine was first observed hold no inventory.
		if known, seen := x.wanted(g, m.Name), x.saw(g, m.Name); len(m.Extensions) == 0 || q.LastSeen && seen {
			m.Extensions = known
		}
		r.Machines = append(r.Machines, m)
	}
	list, err := x.manager.Restore(ctx, r)
	if err != nil || q.Rehearsal {
		return list, err
	}
	// The group may not belong to the target yet: what is seen there is what it will have.
	if g.Site != q.Target {
		g.Site, g.Target = q.Target, q.Source
	}
	var names []string
	for _, m := range q.Machines {
		names = append(names, m.Name)
	}
	if err := x.observe(ctx, g, names); err != nil {
		x.c.log.Debug("observe extensions", "group", g.Name, "err", err)
	}
	return list, nil
}

// A CatalogueEntry is an entry of the extension catalogue.
type CatalogueEntry struct {
	extension.Entry
	Builtin bool
	Text    string // as it was written; empty for one that comes with the program
}

// ExtensionCatalogue lists the entries of the catalogue.
func (c *Controller) ExtensionCatalogue(ctx context.Context) ([]CatalogueEntry, error) {
	all, added, err := c.catalogue(ctx)
	var list []CatalogueEntry
	for _, name := range slices.Sorted(maps.Keys(all)) {
		v, ok := added[name]
		list = append(list, CatalogueEntry{Entry: all[name], Builtin: !ok, Text: v.Text})
	}
	return list, err
}

// AddExtensionEntry adds an entry to the catalogue, or replaces the one of its name. file names the text in errors.
func (c *Controller) AddExtensionEntry(ctx context.Context, file, text, by string) (CatalogueEntry, error) {
	e, err := extension.Parse(cmp.Or(file, "extension.yaml"), []byte(text))
	if err != nil {
		return CatalogueEntry{}, err
	}
	all, _, err := c.catalogue(ctx)
	if err != nil {
		return CatalogueEntry{}, err
	}
	if err := all.With(e).Check(); err != nil {
		return CatalogueEntry{}, err
	}
	err = c.store.PutExtensionEntry(ctx, store.ExtensionEntry{Name: e.Name, Text: text, By: by})
	c.extensions.kick()
	return CatalogueEntry{Entry: e, Text: text}, err
}

// RemoveExtensionEntry removes an entry that was added. Machines keep what is installed.
func (c *Controller) RemoveExtensionEntry(ctx context.Context, name string) error {
	err := c.store.DeleteExtensionEntry(ctx, name)
	if all, berr := extension.Builtin(); dr.KindOf(err) == dr.KindNotFound && berr == nil {
		if _, ok := all[name]; ok {
			return dr.WithHint(fmt.Errorf("extension %s comes with the program", name), dr.KindConflict, "add one of the same name to replace it: understudy extension catalogue add FILE")
		}
	}
	return err
}

// An ExtensionInventory is what a machine of a group was last seen to have.
type ExtensionInventory struct {
	Group string
	store.Inventory
}

// Extensions lists what the machines of a group were last seen to have where they run, or those of all groups.
func (c *Controller) Extensions(ctx context.Context, group string) ([]ExtensionInventory, error) {
	groups, err := c.store.Groups(ctx)
	if group != "" {
		var g dr.Group
		g, err = c.store.Group(ctx, group)
		groups = []dr.Group{g}
	}
	if err != nil {
		return nil, err
	}
	c.extensions.mu.Lock()
	defer c.extensions.mu.Unlock()
	var list []ExtensionInventory
	for _, g := range groups {
		for _, m := range g.Machines {
			if v, ok := c.extensions.seen[machineAt{g.Site, m.Name}]; ok {
				list = append(list, ExtensionInventory{g.Name, v})
			}
		}
	}
	return list, nil
}

// ObserveExtensions looks at the machines of a group now.
func (c *Controller) ObserveExtensions(ctx context.Context, group string) error {
	g, err := c.store.Group(ctx, group)
	if err != nil {
		return err
	}
	var names []string
	for _, m := range g.Machines {
		names = append(names, m.Name)
	}
	return c.extensions.observe(ctx, g, names)
}

// PointExtensions lists what the machines of a recovery point had.
func (c *Controller) PointExtensions(ctx context.Context, group, point string) ([]ExtensionInventory, error) {
	g, err := c.store.Group(ctx, group)
	if err != nil {
		return nil, err
	}
	v, err := c.vault(ctx, g.Vault)
	if err != nil {
		return nil, err
	}
	found, err := v.FindPoint(ctx, group, point)
	if err != nil {
		return nil, err
	}
	p, err := v.OpenPoint(ctx, group, found.ID)
	if err != nil {
		return nil, err
	}
	var list []ExtensionInventory
	for _, m := range p.Machines() {
		list = append(list, ExtensionInventory{group, store.Inventory{Machine: m.Name, Observed: found.Time, Extensions: m.Extensions}})
	}
	return list, p.Close()
}

// InstallExtension installs an extension in a machine, and returns when its first heartbeat arrived.
func (c *Controller) InstallExtension(ctx context.Context, q extension.Install) (*time.Time, error) {
	at, err := c.extensions.manager.Install(ctx, q)
	c.observeMachine(ctx, q.Site, q.Machine)
	return at, err
}

// RemoveExtension removes an extension from a machine for good: it is no longer in the machine's inventory.
func (c *Controller) RemoveExtension(ctx context.Context, siteName, machine, name string) error {
	if err := c.extensions.manager.Remove(ctx, siteName, machine, name); err != nil {
		return err
	}
	if err := c.extensions.forget(ctx, machine, name); err != nil {
		return err
	}
	c.observeMachine(ctx, siteName, machine)
	return nil
}

// forget takes an extension out of a machine's inventories at all sites.
func (x *extensions) forget(ctx context.Context, machine, name string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	var changed []store.Inventory
	for at, v := range x.seen {
		if at.machine != machine || !slices.ContainsFunc(v.Extensions, func(e dr.Extension) bool { return e.Name == name }) {
			continue
		}
		v.Extensions = slices.DeleteFunc(slices.Clone(v.Extensions), func(e dr.Extension) bool { return e.Name == name })
		x.seen[at] = v
		changed = append(changed, v)
	}
	return x.c.store.PutInventories(ctx, changed)
}

// observeMachine looks at a machine that changed, if it is in a group.
func (c *Controller) observeMachine(ctx context.Context, siteName, machine string) {
	groups, err := c.store.Groups(ctx)
	for _, g := range groups {
		if g.Site == siteName && slices.ContainsFunc(g.Machines, func(m dr.MachinePolicy) bool { return m.Name == machine }) {
			err = errors.Join(err, c.extensions.observe(ctx, g, []string{machine}))
		}
	}
	if err != nil && ctx.Err() == nil {
		c.log.Debug("observe extensions", "machine", machine, "err", err)
	}
}

// RestoreExtensions begins to restore the extensions of a group where it runs; a rehearsal changes nothing.
func (c *Controller) RestoreExtensions(ctx context.Context, group string, rehearsal bool, by string) (store.Run, error) {
	return c.recovery.Start(ctx, recovery.Request{Kind: recovery.KindExtensions, Group: group, Rehearsal: rehearsal, By: by})
}

// SetCollector changes a site's settings about its collector; a setting that is empty is removed.
func (c *Controller) SetCollector(ctx context.Context, name string, settings map[string]string) (dr.Site, error) {
	s, err := c.store.Site(ctx, name)
	if err != nil {
		return s, err
	}
	s.Config = maps.Clone(s.Config)
	if s.Config == nil {
		s.Config = map[string]string{}
	}
	for key, value := range settings {
		if !strings.HasPrefix(key, extension.KeyPrefix) {
			return s, dr.WithHint(fmt.Errorf("setting %q is not of a collector", key), dr.KindInvalid, "")
		}
		if value == "" {
			delete(s.Config, key)
			continue
		}
		s.Config[key] = value
	}
	if err := extension.CheckSite(s); err != nil {
		return s, err
	}
	if err := c.store.PutSite(ctx, s); err != nil {
		return s, err
	}
	c.extensions.kick()
	return s, nil
}
