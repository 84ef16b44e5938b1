package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/site"
	"understudy/internal/store"
	"understudy/internal/transfer"
)

// Kinds of run that copy a machine. They are of no group.
const (
	KindClone = "clone"
	KindMove  = "move"
)

// copies reports whether runs of a kind copy a machine.
func copiesMachine(kind string) bool { return kind == KindClone || kind == KindMove }

// A CloneSpec says which machine to copy and what its copy is to be.
type CloneSpec struct {
	Machine string `json:"machine"`
	// Site is where the machine is, for a copy of it as it is now. Else Group and Point name a recovery point.
	Site  string `json:"site,omitempty"`
	Group string `json:"group,omitempty"`
	Point string `json:"point,omitempty"` // a selector; an ID in the input of a run
	Vault string `json:"vault,omitempty"` // of the group; filled in

	To        string            `json:"to"`                  // site; the machine's own when empty
	As        string            `json:"as"`                  // name; the machine's own when empty
	CPUs      int               `json:"cpus,omitempty"`      // as before when 0
	MemoryMiB int               `json:"memoryMiB,omitempty"` // as before when 0
	Format    string            `json:"format,omitempty"`    // of its disks: raw, qcow2, or empty for the site's choice
	Sizes     map[string]int64  `json:"sizes,omitempty"`     // bytes, by disk; disks only grow
	Networks  map[string]string `json:"networks,omitempty"`  // the network that stands for another
	Start     bool              `json:"start,omitempty"`     // start it at the end; a move always starts what ran
	Verify    bool              `json:"verify,omitempty"`    // compare also what the cloud copied itself; other copies always are
	// Set are attributes that only the site understands: KEY of the machine, disk/NAME/KEY, nic/NUMBER/KEY; NAME and NUMBER
	// may be "*" for all.
	Set map[string]string `json:"set,omitempty"`

	// Origin is the first run for this copy: the one that what it made belongs to. Made is what that run was to make.
	Origin string      `json:"origin,omitempty"`
	Made   *dr.Machine `json:"made,omitempty"`
	Agent  bool        `json:"agent,omitempty"`  // the machine has a guest agent, which can freeze file systems
	Ran    bool        `json:"ran,omitempty"`    // the machine ran when the move was asked for
	Direct bool        `json:"direct,omitempty"` // the cloud copies the disks itself
}

// from says where the copy is from, for people.
func (c *CloneSpec) from() string {
	if c.Group != "" {
		return "point " + c.Point + " of " + c.Group
	}
	return "site " + c.Site
}

func (c *CloneSpec) about() string {
	if c.Group != "" {
		return c.Machine + " of " + c.Group
	}
	return c.Machine + " at " + c.Site
}

// A CloneResult is what a copy became.
type CloneResult struct {
	From    string         `json:"from"` // site or recovery point
	Point   string         `json:"point,omitempty"`
	To      string         `json:"to"`
	As      string         `json:"as"`
	Instant time.Time      `json:"instant,omitzero"` // what the copy shows
	Kind    dr.Consistency `json:"kind,omitempty"`
	Disks   []CopiedDisk   `json:"disks,omitempty"`
	Size    int64          `json:"size,omitempty"`    // bytes, of all source disks with what is empty
	Bytes   int64          `json:"bytes,omitempty"`   // of data read for the copies
	Took    Seconds        `json:"took,omitempty"`    // copying, and comparing digests
	Copying Seconds        `json:"copying,omitempty"` // copying alone
	Started time.Time      `json:"started,omitzero"`
	Direct  bool           `json:"direct,omitempty"` // the cloud copied the disks itself; they have digests when they were compared
	Skew    Seconds        `json:"skew,omitempty"`   // between the snapshots of its disks
	Made    *dr.Machine    `json:"made,omitempty"`   // what the machine was made from

	// Of a move.
	Stopped   time.Time `json:"stopped,omitzero"` // when the source was down
	Downtime  Seconds   `json:"downtime,omitempty"`
	Confirmed time.Time `json:"confirmed,omitzero"`
	Deleted   bool      `json:"deleted,omitempty"`  // the source was deleted
	NotGone   string    `json:"notGone,omitempty"`  // why the source could not be deleted
	GaveBack  bool      `json:"gaveBack,omitempty"` // the source is as before the move
}

// A CopiedDisk is a disk whose copy was found to be the same as its source.
type CopiedDisk struct {
	Name    string          `json:"name"`
	Size    int64           `json:"size"`
	Read    int64           `json:"read"`
	Written int64           `json:"written"`
	Digest  transfer.Digest `json:"digest"`
	Content string          `json:"content,omitempty"` // the digest that a cloud's own copy was compared by
}

func (r *Recovery) cloneKind() kind {
	return kind{prepare: r.prepareClone, do: r.clone, groupless: true}
}

// prepareClone completes and checks what was asked for, as far as that can be known before anything is done.
func (r *Recovery) prepareClone(ctx context.Context, q Request, p *Input, _ store.Protection) (func(*store.Protection) error, error) {
	if q.Clone == nil {
		return nil, dr.WithHint(errors.New("nothing to copy was named"), dr.KindInvalid, "")
	}
	c := *q.Clone
	c.Origin = cmp.Or(c.Origin, p.Run)
	p.Clone, p.Group, p.Source, p.Of = &c, "", c.Site, q.Of
	switch {
	case c.Machine == "":
		return nil, dr.WithHint(errors.New("no machine was named"), dr.KindInvalid, "see what there is: understudy machine list")
	case (c.Site == "") == (c.Group == ""):
		return nil, dr.WithHint(errors.New("name the machine's site, or a group for one of its recovery points"), dr.KindInvalid, "--site SITE, or --group GROUP")
	case c.Format != "" && c.Format != "raw" && c.Format != "qcow2":
		return nil, dr.WithHint(fmt.Errorf("disk format %q is not known", c.Format), dr.KindInvalid, "raw or qcow2")
	case c.CPUs < 0 || c.MemoryMiB < 0:
		return nil, dr.WithHint(errors.New("a machine has at least one CPU, and memory"), dr.KindInvalid, "")
	}
	m, err := r.lookAt(ctx, &c)
	if err != nil {
		return nil, err
	}
	c.Agent = m.Agent
	if q.Of == "" { // one that is resumed knows what it was
		c.Ran = m.Power == dr.PowerOn || m.Power == dr.PowerPaused
	}
	if c.To = cmp.Or(c.To, c.Site); c.To == "" {
		return nil, dr.WithHint(errors.New("a copy from a recovery point needs a site"), dr.KindInvalid, "--to SITE")
	}
	c.As = cmp.Or(c.As, c.Machine)
	p.Target = c.To
	made, err := c.shape(m)
	if err != nil {
		return nil, err
	}
	if err := r.vacantFor(ctx, &c, made); err != nil {
		return nil, err
	}
	c.Direct, err = r.CopiesDirectly(ctx, q.Kind, c)
	return nil, err
}

// lookAt describes the machine to copy. Of a recovery point it fixes which one.
func (r *Recovery) lookAt(ctx context.Context, c *CloneSpec) (dr.Machine, error) {
	if c.Group == "" {
		d, err := r.o.Sites(ctx, c.Site)
		if err != nil {
			return dr.Machine{}, err
		}
		list, err := d.Machines(ctx)
		if err != nil {
			return dr.Machine{}, fmt.Errorf("list machines of site %s: %w", c.Site, err)
		}
		return machineOf(list, c)
	}
	if c.Vault == "" {
		g, err := r.o.Store.Group(ctx, c.Group)
		if err != nil {
			return dr.Machine{}, err
		}
		c.Vault = g.Vault
	}
	v, err := r.o.Vaults(ctx, c.Vault)
	if err != nil {
		return dr.Machine{}, err
	}
	found, err := v.FindPoint(ctx, c.Group, cmp.Or(c.Point, "latest"))
	if err != nil {
		return dr.Machine{}, err
	}
	c.Point = found.ID
	point, err := v.OpenPoint(ctx, c.Group, c.Point)
	if err != nil {
		return dr.Machine{}, err
	}
	m, err := machineOf(point.Machines(), c)
	return m, errors.Join(err, point.Close())
}

// vacantFor refuses a target where the copy cannot be made.
func (r *Recovery) vacantFor(ctx context.Context, c *CloneSpec, m dr.Machine) error {
	d, err := r.o.Sites(ctx, c.To)
	if err != nil {
		return err
	}
	if _, ok := d.(site.DiskOpener); !ok {
		return dr.WithHint(fmt.Errorf("site %s runs no machines, so none can be copied there", c.To), dr.KindInvalid, "give another --to")
	}
	q := site.ProvisionRequest{Machine: m, Owner: c.Origin, Set: c.machineSet()}
	if checker, ok := d.(site.Checker); ok {
		if err := checker.Check(q); err != nil {
			return fmt.Errorf("copy %s to %s: %w", c.Machine, c.To, err)
		}
	} else if len(q.Set) > 0 {
		return dr.WithHint(fmt.Errorf("machines of site %s have no attributes that can be set", c.To), dr.KindInvalid, "leave --set out")
	}
	list, err := d.Machines(ctx)
	if err != nil {
		return fmt.Errorf("list machines of site %s: %w", c.To, err)
	}
	i := slices.IndexFunc(list, func(m dr.Machine) bool { return m.Name == c.As })
	switch {
	case i < 0:
		return r.unreserved(ctx, c)
	case list[i].Owner != c.Origin:
		return dr.WithHint(fmt.Errorf("site %s has a machine %s already", c.To, c.As), dr.KindConflict, "give the copy another name: --as NAME")
	}
	return nil
}

// unreserved refuses a name that a failover needs: it would be refused for as long as the copy is there.
func (r *Recovery) unreserved(ctx context.Context, c *CloneSpec) error {
	groups, err := r.o.Store.Groups(ctx)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if g.Target == c.To && slices.ContainsFunc(g.Machines, func(m dr.MachinePolicy) bool { return m.Name == c.As }) {
			return dr.WithHint(fmt.Errorf("a failover of group %s makes machine %s at %s", g.Name, c.As, c.To), dr.KindConflict, "give it another name with --as")
		}
	}
	return nil
}

// shape describes the machine to make from the one to copy.
func (c *CloneSpec) shape(m dr.Machine) (dr.Machine, error) {
	if c.Made != nil {
		return *c.Made, nil
	}
	m.Name, m.Power, m.Owner, m.Extensions = c.As, "", "", nil
	m.CPUs, m.MemoryMiB = cmp.Or(c.CPUs, m.CPUs), cmp.Or(c.MemoryMiB, m.MemoryMiB)
	m.Disks, m.NICs = slices.Clone(m.Disks), slices.Clone(m.NICs)
	sizes := maps.Clone(c.Sizes)
	var names []string
	for i := range m.Disks {
		d := &m.Disks[i]
		d.Path, d.Format = "", c.Format
		if d.Role != dr.RoleDisk {
			d.Format = ""
			continue
		}
		names = append(names, d.Name)
		want, ok := sizes[d.Name]
		if !ok {
			continue
		}
		delete(sizes, d.Name)
		if want < d.Size {
			return m, dr.WithHint(fmt.Errorf("disk %s has %d bytes and cannot shrink to %d", d.Name, d.Size, want), dr.KindInvalid,
				"shrink its file systems and the disk in the guest's own way; disks only grow here")
		}
		d.Size = want
	}
	for name := range sizes {
		return m, dr.WithHint(fmt.Errorf("machine %s has no disk %s", c.Machine, name), dr.KindNotFound, "its disks: "+strings.Join(names, ", "))
	}
	for i := range m.NICs {
		n := &m.NICs[i]
		n.Network = cmp.Or(c.Networks[n.Network], n.Network)
	}
	return m, c.attributes(&m)
}

// apart makes a machine fit to live beside the one that it is a copy of.
func apart(m dr.Machine) dr.Machine {
	for i := range m.NICs {
		n := &m.NICs[i]
		n.MAC = ""
		n.Forwards = slices.Clone(n.Forwards)
		for j := range n.Forwards {
			n.Forwards[j].HostPort = 0
		}
	}
	return m
}

// clone copies a machine that stays as it is.
func (r *Recovery) clone(run *engine.Run, p Input) (*Result, error) {
	res := &Result{Clone: &CloneResult{From: p.Clone.from(), Point: p.Clone.Point, To: p.Clone.To, As: p.Clone.As}}
	err := r.cloneSteps(run, p, res.Clone)
	return res, r.endCopy(run, p, err)
}

func (r *Recovery) cloneSteps(run *engine.Run, p Input, res *CloneResult) error {
	create := r.make
	if p.Clone.Direct {
		create = func(run *engine.Run, p Input, fit func(dr.Machine) dr.Machine) (dr.Machine, error) {
			return r.copyDirectly(run, p, fit, res)
		}
	}
	m, err := create(run, p, apart)
	if err != nil {
		return err
	}
	if res.Made = &m; !p.Clone.Direct {
		err = r.copyDisks(run, p, m, "", res)
	}
	if err == nil && p.Clone.Start {
		err = r.startCopy(run, p, res)
	}
	return err
}

// make creates the machine that the copy goes to, with empty disks.
func (r *Recovery) make(run *engine.Run, p Input, fit func(dr.Machine) dr.Machine) (dr.Machine, error) {
	c := p.Clone
	m, err := r.source(run, p, fit)
	if err != nil {
		return m, err
	}
	return m, action(run, "create", fmt.Sprintf("create %s at %s", c.As, c.To), engine.StepOptions{Timeout: provisionTimeout, Retries: 2},
		func(ctx context.Context, _ *engine.Progress) error {
			d, err := r.o.Sites(ctx, c.To)
			if err != nil {
				return err
			}
			return d.Provision(ctx, site.ProvisionRequest{Machine: m, Owner: c.Origin, Set: c.machineSet()})
		})
}

// source describes the machine to make.
func (r *Recovery) source(run *engine.Run, p Input, fit func(dr.Machine) dr.Machine) (dr.Machine, error) {
	c := p.Clone
	return engine.Do(run, engine.Step[dr.Machine]{Name: "look", Title: fmt.Sprintf("look at %s", c.about()),
		Options: engine.StepOptions{Timeout: vaultTimeout, Retries: 3},
		Do: func(ctx context.Context, _ *engine.Progress) (dr.Machine, error) {
			m, err := r.lookAt(ctx, c)
			if err != nil || c.Made != nil {
				return *cmp.Or(c.Made, &m), err
			}
			m, err = c.shape(m)
			return fit(m), err
		}})
}

func (r *Recovery) startCopy(run *engine.Run, p Input, res *CloneResult) (err error) {
	res.Started, err = engine.Do(run, engine.Step[time.Time]{Name: "start", Title: fmt.Sprintf("start %s at %s", p.Clone.As, p.Clone.To),
		Options: engine.StepOptions{Timeout: startTimeout, Retries: 1},
		Do: func(ctx context.Context, _ *engine.Progress) (time.Time, error) {
			d, err := r.o.Sites(ctx, p.Clone.To)
			if err == nil {
				err = d.Power(ctx, p.Clone.As, site.PowerStart)
			}
			if err == nil {
				err = d.Probe(ctx, p.Clone.As, dr.Probe{})
			}
			return r.o.Now().UTC(), err
		}})
	return err
}

// endCopy ends the reading of the source. A run that was cancelled leaves nothing; one that failed leaves what it copied,
// for `run resume`.
func (r *Recovery) endCopy(run *engine.Run, p Input, err error) error {
	// Outside of a step: when the controller ends, the guest must not be kept busy by a capture until it is back.
	if e := r.sources.release(context.Background(), p.Run); e != nil {
		r.o.Logger.Warn("end capture", "run", p.Run, "error", e)
	}
	switch {
	case errors.Is(err, engine.ErrInterrupted):
		return err
	case errors.Is(err, engine.ErrAborted):
		if left := r.removeCopy(run, p); left != nil {
			return left
		}
	case err == nil:
		return action(run, "tidy", "remove journals and change tracking of the copy", engine.StepOptions{Timeout: deleteTimeout, Retries: 3, Cleanup: true},
			func(ctx context.Context, _ *engine.Progress) error {
				r.forgetCaptures(ctx, p.Clone)
				return errors.Join(r.endDirect(ctx, p.Clone), os.RemoveAll(r.o.copyDir(p.Clone.Origin)))
			})
	default:
		r.forgetCaptures(context.Background(), p.Clone)
	}
	return err
}

// removeCopy removes what a run made.
func (r *Recovery) removeCopy(run *engine.Run, p Input) error {
	return action(run, "remove copy", fmt.Sprintf("remove %s at %s", p.Clone.As, p.Clone.To),
		engine.StepOptions{Timeout: deleteTimeout, Retries: 3, Cleanup: true},
		func(ctx context.Context, _ *engine.Progress) error { return r.discard(ctx, p.Clone) })
}

// discard removes the copy that an origin made, its journals, and what the site keeps for its captures.
func (r *Recovery) discard(ctx context.Context, c *CloneSpec) error {
	d, err := r.o.Sites(ctx, c.To)
	if err != nil {
		return err
	}
	list, err := d.Machines(ctx)
	if err != nil {
		return err
	}
	// Only what the origin made: another machine may have taken the name since.
	for _, m := range list {
		if m.Name == c.As && m.Owner == c.Origin {
			if err := d.Delete(ctx, c.As); err != nil {
				return err
			}
		}
	}
	r.forgetCaptures(ctx, c)
	return errors.Join(r.endDirect(ctx, c), os.RemoveAll(r.o.copyDir(c.Origin)))
}

// forgetCaptures ends the change tracking that a controller which died in the middle left at the source. Nothing depends
// on it but the source's speed, so a site that cannot do that now is no error.
func (r *Recovery) forgetCaptures(ctx context.Context, c *CloneSpec) {
	if c.Site == "" {
		return
	}
	ctx, stop := context.WithTimeout(ctx, r.o.SiteTimeout)
	defer stop()
	d, err := r.o.Sites(ctx, c.Site)
	if f, ok := d.(site.Forgetter); ok && err == nil {
		err = f.Forget(ctx, c.captureGroup(), []string{c.Machine})
	}
	if err != nil {
		r.o.Logger.Warn("end change tracking of a copy", "site", c.Site, "machine", c.Machine, "error", err)
	}
}
