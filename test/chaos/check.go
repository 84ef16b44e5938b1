package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/dr"
	"understudy/internal/keyring"
	"understudy/internal/vault"
)

// settleIn is how long the controller may take, when nothing is wrong any more, to come on with what is left to do: to end its
// runs and hold what must be held.
const settleIn = 2 * time.Minute

// rest waits until everything is over, and returns the status of the groups then.
func (w *world) rest() (map[string]wire.Status, error) {
	deadline := time.Now().Add(settleIn)
	last := ""
	for {
		status, err := w.atRest()
		if err == nil {
			return status, nil
		}
		if now := err.Error(); now != last {
			last, deadline = now, time.Now().Add(settleIn)
		}
		if w.proc.alive() && time.Now().After(deadline) {
			w.violate("it does not come to rest within %s: %v\n%s", settleIn, err, w.goroutines())
			return nil, err
		}
		if !w.proc.alive() {
			if !w.proc.killed {
				w.violate("the controller ended by itself:\n%s", w.logTail())
			}
			if err := w.restart(false); err != nil {
				w.violate("the controller does not start again: %v", err)
				return nil, err
			}
			deadline = time.Now().Add(settleIn)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (w *world) atRest() (map[string]wire.Status, error) {
	ctx, stop := context.WithTimeout(context.Background(), apiTimeout)
	defer stop()
	c := w.proc.client
	runs, err := c.ListRuns(ctx, client.ListRunsQuery{Active: true})
	if err != nil {
		return nil, err
	}
	if len(runs.Items) > 0 {
		run := runs.Items[0]
		if run.State == "waiting" {
			if err := w.answer(ctx, c, run.ID, false); err != nil {
				return nil, err
			}
		}
		return nil, fmt.Errorf("%s %s of %s is %s: %s", run.Kind, run.ID, run.Group, run.State, run.Message)
	}
	found := map[string]wire.Status{}
	for _, g := range w.groups {
		st, err := c.GroupStatus(ctx, g.name)
		if dr.KindOf(err) == dr.KindNotFound {
			// It was to be protected elsewhere, and only the first half of that was done.
			if err = w.protect(ctx, g, g.site); err == nil {
				st, err = c.GroupStatus(ctx, g.name)
			}
		}
		if err != nil {
			return nil, err
		}
		switch dr.State(st.State) {
		case dr.StateSeeding, dr.StateProtected:
			if err := w.sync(ctx, c, g, st.Site); err != nil {
				return nil, fmt.Errorf("sync %s: %w", g.name, err)
			}
			if st, err = c.GroupStatus(ctx, g.name); err != nil {
				return nil, err
			}
			if st.State != string(dr.StateProtected) {
				return nil, fmt.Errorf("%s is %s", g.name, st.State)
			}
		case dr.StateFailedOver, dr.StateCommitted, dr.StateFailoverFailed:
			fences, err := c.AllFences(ctx, client.ListFencesQuery{Group: g.name})
			if err != nil {
				return nil, err
			}
			for _, f := range fences {
				if _, held := w.sites[f.Site].Held(f.Machine); !held || !f.Held || f.Error != "" {
					return nil, fmt.Errorf("%s at %s is not held: %s", f.Machine, f.Site, f.Error)
				}
			}
		}
		found[g.name] = st
	}
	return found, nil
}

// soon waits until what returns nil.
func (w *world) soon(what func() error) error {
	deadline := time.Now().Add(settleIn)
	for {
		err := what()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// check looks for what must not be when everything is at rest.
func (w *world) check(status map[string]wire.Status) error {
	ctx, stop := context.WithTimeout(context.Background(), apiTimeout)
	defer stop()
	v, err := w.vault(ctx)
	if err != nil {
		return err
	}
	sockets := map[string]bool{}
	for _, g := range w.groups {
		st := status[g.name]
		w.checkGroup(g, st)
		w.checkOwner(ctx, v, g, st)
		if err := w.checkPoints(ctx, v, g); err != nil {
			return err
		}
		sockets[st.TestRun] = st.Test != "" && st.Test != string(dr.TestNone)
		if dr.State(st.State) == dr.StateFailoverFailed {
			sockets[st.Run] = true
		}
	}
	w.checkLeaks(status, sockets)
	runs, err := w.proc.client.ListRuns(ctx, client.ListRunsQuery{Limit: 20})
	if err != nil {
		return err
	}
	w.checkNotes(runs.Items)
	grants, err := w.proc.client.AllGrants(ctx, client.ListGrantsQuery{})
	if err != nil {
		return err
	}
	for _, g := range grants {
		w.violate("left behind: the grant %s of %s for run %s, until %s", g.Access, g.Disk, g.Run, g.Expires)
	}
	return nil
}

// checkGroup compares what the controller says of a group with what is.
func (w *world) checkGroup(g *group, st wire.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g.excused = false
	at, away := w.sites[st.Site], w.sites[other(st.Site)]
	here, there := w.powers(at), w.powers(away)
	for _, m := range g.machines {
		if here[m] == dr.PowerOn && there[m] == dr.PowerOn {
			w.violateLocked("%s runs at both sites; the group is %s at %s", m, st.State, st.Site)
		}
	}
	state := dr.State(st.State)
	switch state {
	case dr.StateProtected, dr.StatePaused, dr.StateFailedOver, dr.StateCommitted:
		for _, m := range g.machines {
			if reason, held := at.Held(m); held {
				w.violateLocked("%s is %s at %s, and %s is held there: %s", g.name, state, st.Site, m, reason)
			}
			if here[m] != dr.PowerOn && !g.off[st.Site+"/"+m] {
				w.violateLocked("%s is %s at %s, and %s is %q there", g.name, state, st.Site, m, here[m])
			}
			if there[m] == dr.PowerOn {
				w.violateLocked("%s is %s at %s, and %s runs at %s", g.name, state, st.Site, m, away.name)
			}
			_, held := away.Held(m)
			if _, exists := there[m]; exists && !held {
				w.violateLocked("%s is %s at %s, and %s could be started at %s", g.name, state, st.Site, m, away.name)
			}
		}
		if !g.lines[st.Site].live {
			w.started(g, at) // what could not be read when it was started can be now
		}
	case dr.StatePlannedFailoverFailed, dr.StateFailoverFailed, dr.StateReprotectFailed, dr.StateResolveFailed:
	default:
		w.violateLocked("%s is %s although nothing is under way", g.name, state)
	}
}

// checkOwner compares the owner in the vault.
func (w *world) checkOwner(ctx context.Context, v *vault.Vault, g *group, st wire.Status) {
	o, err := v.Owner(ctx, g.name)
	switch {
	case err != nil:
		w.violate("owner of %s: %v", g.name, err)
		return
	case o.Epoch < g.epoch:
		w.violate("the epoch of %s went back from %d to %d", g.name, g.epoch, o.Epoch)
	}
	g.epoch = o.Epoch
	switch dr.State(st.State) {
	case dr.StateProtected, dr.StatePaused, dr.StateFailedOver, dr.StateCommitted:
		if o.Site != st.Site {
			w.violate("%s is %s at %s, but in the vault %s owns it", g.name, st.State, st.Site, o.Site)
		}
	}
}

// pointsCompared is how many recovery points of a group are opened each time, beside the newest.
const pointsCompared = 2

// checkPoints opens recovery points and compares them with what was captured.
func (w *world) checkPoints(ctx context.Context, v *vault.Vault, g *group) error {
	points, err := v.Points(ctx, g.name)
	if err != nil {
		w.violate("points of %s: %v", g.name, err)
		return nil
	}
	w.mu.Lock()
	look := points[max(0, len(points)-1):]
	for range min(pointsCompared, len(points)) {
		look = append(look, points[w.random.IntN(len(points))])
	}
	w.mu.Unlock()
	for _, p := range look {
		c, err := readPoint(ctx, v, g, p.ID)
		if dr.KindOf(err) == dr.KindNotFound {
			continue // retention
		}
		w.mu.Lock()
		n, known := g.captured[p.Time.UnixNano()]
		switch {
		case err != nil:
			w.violateLocked("point %s of %s: %v", p.ID, g.name, err)
		case !known:
			w.violateLocked("point %s of %s is of %s, when nothing was captured", p.ID, g.name, p.Time)
		default:
			if err := n.differs(c); err != nil {
				w.violateLocked("point %s of %s is not what was captured: %v", p.ID, g.name, err)
			}
			w.compared++
		}
		w.mu.Unlock()
	}
	return nil
}

func readPoint(ctx context.Context, v *vault.Vault, g *group, id string) (c map[slot]uint64, err error) {
	p, err := v.OpenPoint(ctx, g.name, id)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	c = map[slot]uint64{}
	for _, m := range g.machines {
		d, err := p.Disk(dr.DiskID{Machine: m, Disk: diskName})
		if err != nil {
			return nil, err
		}
		b := make([]byte, diskSize)
		if _, err := d.ReadAt(b, 0); err != nil {
			return nil, err
		}
		if err := decode(m, b, c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// vault opens the vault beside the controller.
func (w *world) vault(ctx context.Context) (*vault.Vault, error) {
	keys, err := filepath.Glob(filepath.Join(w.dir, "config", "keys", "*.key"))
	if err != nil || len(keys) != 1 {
		return nil, fmt.Errorf("find the vault's key: %v %w", keys, err)
	}
	var ids []age.Identity
	if ids, err = keyring.ReadKey(keys[0]); err != nil {
		return nil, err
	}
	return vault.Open(ctx, w.store, vault.Options{Identities: ids, Now: w.now, Workers: 1})
}

// heldTooLong is how long a capture or an open disk may be held when nothing but replication goes on, on a busy host.
const heldTooLong = time.Minute

// maxGoroutines is more than a controller at rest has.
const maxGoroutines = 400

// checkLeaks looks for what should have been let go of.
func (w *world) checkLeaks(status map[string]wire.Status, serving map[string]bool) {
	for _, what := range w.proc.end.held(heldTooLong) {
		w.violate("still open: %s", what)
	}
	for _, p := range w.sites {
		w.mu.Lock()
		for name := range w.powers(p) {
			g, m := w.groupOf(name)
			if g == nil {
				w.violateLocked("nobody knows the machine %s at %s", name, p.name)
				continue
			}
			req, made := p.Provisioned(name)
			st := status[g.name]
			if name != m && !(made && req.Owner == st.TestRun && serving[st.TestRun]) {
				w.violateLocked("left behind: machine %s at %s", name, p.name)
			}
			if p.Preserved(name) && st.State == string(dr.StateCommitted) && st.Site == p.name {
				w.violateLocked("left behind: kept content of %s at %s while %s is %s", name, p.name, g.name, st.State)
			}
		}
		w.mu.Unlock()
	}
	found, err := filepath.Glob(filepath.Join(w.dir, "data", "run", "*.sock"))
	if err != nil {
		w.violate("list sockets: %v", err)
	}
	for _, f := range found {
		if run := strings.TrimSuffix(filepath.Base(f), ".sock"); !serving[run] && run != "grants" {
			w.violate("left behind: the exports of %s are still served", run)
		}
	}
	w.checkFiles()
	var n int
	if text, err := w.proc.get("/chaos/goroutines"); err == nil {
		fmt.Sscan(text, &n)
	}
	if n > maxGoroutines {
		w.violate("the controller has %d goroutines\n%s", n, w.goroutines())
	}
}

// checkFiles looks for temporary files.
func (w *world) checkFiles() {
	err := filepath.WalkDir(filepath.Join(w.dir, "data"), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return nil // removed meanwhile
		}
		name := d.Name()
		old := false
		if info, err := d.Info(); err == nil {
			old = time.Since(info.ModTime()) > 10*time.Second
		}
		temporary := slices.ContainsFunc([]string{".new", ".part", ".tmp", ".new-"}, func(s string) bool { return strings.Contains(name, s) })
		if temporary && old && !d.IsDir() {
			w.violate("left behind: %s", path)
		}
		return nil
	})
	if err != nil {
		w.violate("look for files: %v", err)
	}
}
