package controller

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/store"
)

const (
	// machinesFresh is how long what a site told of its machines is taken as it is.
	machinesFresh = 15 * time.Second
	// machinesWait is how long a list waits for sites that were never asked or must be asked anew.
	machinesWait = 2 * time.Second
	// machinesLook bounds one question to a site.
	machinesLook = time.Minute
)

// A MachineRow is a machine of a site as it was seen last.
type MachineRow struct {
	Machine  dr.Machine
	Site     string
	Provider string
	Status   *Status   // of the group that it is in, was left behind by, or rehearses; nil when it is of none
	Observed time.Time // zero when its site never told of it
	Problem  string    // why its site did not answer, the last time
}

// inventory is what sites told of their machines. A site is asked by one goroutine at a time.
type inventory struct {
	mu    sync.Mutex
	sites map[string]*siteInventory
}

type siteInventory struct {
	machines []dr.Machine
	observed time.Time
	problem  string
	asking   chan struct{} // closed when the question under way is answered; nil when none is
	asked    time.Time     // when the last question ended
}

// AllMachines lists the machines of all sites, and those of groups that their sites do not tell of. It waits a little for
// sites that answer slowly, and shows what they told before after that.
func (c *Controller) AllMachines(ctx context.Context) ([]MachineRow, error) {
	sites, err := c.store.Sites(ctx)
	if err != nil {
		return nil, err
	}
	statuses, err := c.Status(ctx, "")
	if err != nil {
		return nil, err
	}
	c.askSites(ctx, sites)
	type place struct{ site, machine string }
	in := map[place]*Status{}
	for i, s := range statuses {
		for _, m := range s.Group.Machines {
			in[place{s.Group.Site, m.Name}] = &statuses[i]
		}
	}
	left, rehearsing := map[place]*Status{}, map[string]*Status{}
	fences, err := c.store.Fences(ctx, "")
	if err != nil {
		return nil, err
	}
	for i, s := range statuses {
		if run := s.Protection.TestRun; run != "" {
			rehearsing[run] = &statuses[i]
		}
		for _, f := range fences {
			if f.Group == s.Group.Name {
				left[place{f.Site, f.Machine}] = &statuses[i]
			}
		}
	}
	now := c.cfg.Now()
	var list []MachineRow
	c.machines.mu.Lock()
	defer c.machines.mu.Unlock()
	for _, s := range sites {
		known := siteInventory{}
		if v := c.machines.sites[s.Name]; v != nil {
			known = *v
		}
		for _, m := range known.machines {
			at := place{s.Name, m.Name}
			if now.Sub(known.observed) > dr.StaleAfter {
				m.Power = dr.PowerUnknown
			}
			list = append(list, MachineRow{Machine: m, Site: s.Name, Provider: s.Provider, Status: cmp.Or(in[at], left[at], rehearsing[m.Owner]), Observed: known.observed, Problem: known.problem})
			delete(in, at)
		}
	}
	providers := map[string]string{}
	for _, s := range sites {
		providers[s.Name] = s.Provider
	}
	for at, s := range in {
		row := MachineRow{Machine: dr.Machine{Name: at.machine, Power: dr.PowerUnknown}, Site: at.site, Provider: providers[at.site], Status: s}
		if v := c.machines.sites[at.site]; v != nil {
			row.Problem = v.problem
		}
		list = append(list, row)
	}
	return list, nil
}

// askSites asks the sites of which nothing fresh is known, all at once, and waits a little for their answers.
func (c *Controller) askSites(ctx context.Context, sites []dr.Site) {
	timer := time.NewTimer(machinesWait)
	defer timer.Stop()
	for _, answered := range c.beginAsking(ctx, sites) {
		select {
		case <-answered:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (c *Controller) beginAsking(ctx context.Context, sites []dr.Site) (wait []<-chan struct{}) {
	c.machines.mu.Lock()
	defer c.machines.mu.Unlock()
	if c.machines.sites == nil {
		c.machines.sites = map[string]*siteInventory{}
	}
	for _, s := range sites {
		v := c.machines.sites[s.Name]
		if v == nil {
			v = &siteInventory{}
			c.machines.sites[s.Name] = v
		}
		if v.asking == nil && c.cfg.Now().Sub(v.asked) >= machinesFresh {
			v.asking = make(chan struct{})
			// The answer is for the next list, too, whoever gives this one up. Close waits for it.
			look, cancel := context.WithTimeout(context.WithoutCancel(ctx), machinesLook)
			c.looking.Go(func() {
				defer cancel()
				stop := context.AfterFunc(c.closing, cancel)
				defer stop()
				c.ask(look, s.Name, v)
			})
		}
		if v.asking != nil {
			wait = append(wait, v.asking)
		}
	}
	return wait
}

// ask asks a site for its machines.
func (c *Controller) ask(ctx context.Context, name string, v *siteInventory) {
	list, err := c.Machines(ctx, name)
	c.machines.mu.Lock()
	defer c.machines.mu.Unlock()
	v.asked = c.cfg.Now()
	if err == nil {
		v.machines, v.observed, v.problem = list, v.asked, ""
	} else {
		v.problem = err.Error()
	}
	close(v.asking)
	v.asking = nil
}

// warnOfTarget adds to a status that the site which it would be failed over to did not answer, unless it warns of something
// else. That is known while somebody looks at machines, as the console's overview does: sites are not asked for this alone.
func (c *Controller) warnOfTarget(s *Status) {
	if s.Warning != "" || s.Protection.State != dr.StateProtected || s.Group.Target == s.Group.Site {
		return
	}
	c.machines.mu.Lock()
	defer c.machines.mu.Unlock()
	v := c.machines.sites[s.Group.Target]
	if v == nil || v.problem == "" || c.cfg.Now().Sub(v.asked) > 2*dr.StaleAfter {
		return
	}
	s.Warning = fmt.Sprintf("nothing can be failed over now, since its target %s does not answer: %s", s.Group.Target, v.problem)
	s.WarningHint = "understudy site doctor " + s.Group.Target
}

// CountRuns returns how many runs are selected.
func (c *Controller) CountRuns(ctx context.Context, f store.RunFilter) (int, error) {
	return c.store.CountRuns(ctx, f)
}
