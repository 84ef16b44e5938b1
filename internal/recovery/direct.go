package recovery

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/site"
)

// directStall is how long a cloud may be silent about what it copies: it tells in whole percents, of disks of any size.
const directStall = 2 * time.Hour

// CopiesDirectly reports whether the cloud of both sites makes a copy itself, so that its data does not pass through here.
func (r *Recovery) CopiesDirectly(ctx context.Context, kind string, c CloneSpec) (bool, error) {
	if kind != KindClone || c.Group != "" || c.Format != "" {
		return false, nil
	}
	from, err := r.o.Sites(ctx, c.Site)
	if err != nil {
		return false, err
	}
	to, err := r.o.Sites(ctx, cmp.Or(c.To, c.Site))
	if err != nil {
		return false, err
	}
	copier, ok := to.(site.Copier)
	return ok && copier.CopiesFrom(from), nil
}

// copyDirectly has the cloud create the machine with its disks, and returns what it was made from.
func (r *Recovery) copyDirectly(run *engine.Run, p Input, fit func(dr.Machine) dr.Machine, res *CloneResult) (dr.Machine, error) {
	c := p.Clone
	m, err := r.source(run, p, fit)
	if err != nil {
		return m, err
	}
	res.Made, res.Direct = &m, true
	done, err := engine.Do(run, engine.Step[site.MachineCopy]{Name: "copy", Title: fmt.Sprintf("have the disks of %s copied to %s", c.about(), c.To),
		Options: engine.StepOptions{Stall: directStall, Retries: 5, Backoff: time.Second},
		Do: func(ctx context.Context, say *engine.Progress) (done site.MachineCopy, err error) {
			from, to, err := r.copier(ctx, c)
			if err != nil {
				return done, err
			}
			q := site.CopyRequest{From: from, Source: c.Machine, Machine: m, Set: c.machineSet(), Owner: c.Origin, Verify: c.Verify}
			if done, err = to.CopyMachine(ctx, q, say.Bytes); err == nil {
				say.Say("%d MB of disk; snapshots within %s", done.Size/1e6, done.Skew.Round(time.Millisecond))
			}
			return done, err
		}})
	if err != nil {
		return m, err
	}
	res.Instant, res.Kind, res.Size, res.Skew = done.Instant, done.Kind, done.Size, seconds(done.Skew)
	res.Copying = seconds(done.Copied.Sub(done.Began))
	res.Took = res.Copying
	for _, d := range m.Disks {
		res.Disks = append(res.Disks, CopiedDisk{Name: d.Name, Size: d.Size, Content: done.Digests[d.Name]})
	}
	return m, nil
}

func (r *Recovery) copier(ctx context.Context, c *CloneSpec) (site.Driver, site.Copier, error) {
	from, err := r.o.Sites(ctx, c.Site)
	if err != nil {
		return nil, nil, err
	}
	to, err := r.o.Sites(ctx, c.To)
	if err != nil {
		return nil, nil, err
	}
	copier, ok := to.(site.Copier)
	if !ok || !copier.CopiesFrom(from) {
		return nil, nil, dr.WithHint(fmt.Errorf("sites %s and %s are not of one cloud any more", c.Site, c.To), dr.KindConflict, "cancel the run, and copy the machine again")
	}
	return from, copier, nil
}

// endDirect removes what a cloud needed for a copy.
func (r *Recovery) endDirect(ctx context.Context, c *CloneSpec) error {
	if !c.Direct {
		return nil
	}
	from, to, err := r.copier(ctx, c)
	if err != nil {
		return err
	}
	return to.EndCopy(ctx, from, c.Origin)
}

// machineSet are the attributes that were asked for of the machine itself.
func (c *CloneSpec) machineSet() map[string]string {
	out := maps.Clone(c.Set)
	maps.DeleteFunc(out, func(key, _ string) bool { return strings.Contains(key, "/") })
	return out
}

// attributes gives a machine's disks and network interfaces the attributes that were asked for.
func (c *CloneSpec) attributes(m *dr.Machine) error {
	for _, key := range slices.Sorted(maps.Keys(c.Set)) {
		kind, rest, ok := strings.Cut(key, "/")
		if !ok {
			continue // of the machine: the site knows which there are
		}
		which, name, ok := strings.Cut(rest, "/")
		if !ok || kind != "disk" && kind != "nic" || name == "" {
			return dr.WithHint(fmt.Errorf("attribute %q cannot be understood", key), dr.KindInvalid, "write KEY, disk/NAME/KEY or nic/NUMBER/KEY; * is every disk or interface")
		}
		found := false
		for i := range m.Disks {
			if d := &m.Disks[i]; kind == "disk" && (which == "*" || which == d.Name) {
				d.Attributes, found = with(d.Attributes, name, c.Set[key]), true
			}
		}
		for i := range m.NICs {
			if n := &m.NICs[i]; kind == "nic" && (which == "*" || which == strconv.Itoa(i)) {
				n.Attributes, found = with(n.Attributes, name, c.Set[key]), true
			}
		}
		if !found {
			return dr.WithHint(fmt.Errorf("machine %s has no %s %s", c.Machine, kind, which), dr.KindNotFound, "understudy machine show "+c.Machine+" lists its disks and network interfaces")
		}
	}
	return nil
}

func with(attributes map[string]string, key, value string) map[string]string {
	out := maps.Clone(attributes)
	if out == nil {
		out = map[string]string{}
	}
	out[key] = value
	return out
}
