package recovery

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/grant"
	"understudy/internal/nbd"
	"understudy/internal/recovery/engine"
	"understudy/internal/site"
	"understudy/internal/transfer"
)

// copyStall is how long a copy may be without progress.
const copyStall = 5 * time.Minute

// copied is a disk that was copied from an instant.
type copied struct {
	Instant instant        `json:"instant"`
	Size    int64          `json:"size"`
	Stats   transfer.Stats `json:"stats"`
	Began   time.Time      `json:"began"`
	Ended   time.Time      `json:"ended"`
}

// copyDisks copies all disks at the same time and compares digests, until all are of one instant: what a controller that
// died had copied from another is brought to it, which costs what differs. phase tells one such copy of a run from
// another.
func (r *Recovery) copyDisks(run *engine.Run, p Input, m dr.Machine, phase string, res *CloneResult) error {
	have, total, err := r.rounds(run, p, m, phase)
	if err != nil {
		return err
	}
	// The guest need not keep the instant any longer.
	if err := r.sources.release(context.Background(), p.Run); err != nil {
		r.o.Logger.Warn("end capture", "run", p.Run, "error", err)
	}
	ends, err := r.compareDisks(run, p, m, phase, have)
	if err != nil {
		return err
	}
	res.Disks, res.Size = nil, 0
	var began, copiedAt, ended time.Time
	for i, d := range m.Disks {
		h := have[i]
		res.Disks = append(res.Disks, CopiedDisk{Name: d.Name, Size: h.Size, Read: h.Stats.Read, Written: h.Stats.Written, Digest: h.Stats.Sum})
		res.Size += h.Size
		if began.IsZero() || h.Began.Before(began) {
			began = h.Began
		}
		if h.Ended.After(copiedAt) {
			copiedAt = h.Ended
		}
		if ends[i].After(ended) {
			ended = ends[i]
		}
	}
	res.Instant, res.Kind = have[0].Instant.Time, have[0].Instant.Consistency
	res.Bytes += total.Read
	res.Took += seconds(ended.Sub(began))
	res.Copying += seconds(copiedAt.Sub(began))
	return nil
}

// rounds copies until every disk is of the instant of the last capture.
func (r *Recovery) rounds(run *engine.Run, p Input, m dr.Machine, phase string) ([]copied, transfer.Stats, error) {
	var total transfer.Stats
	have := make([]copied, len(m.Disks))
	todo := make([]int, len(m.Disks))
	for i := range todo {
		todo[i] = i
	}
	for round := 1; ; round++ {
		steps := make([]engine.Step[copied], len(todo))
		for k, i := range todo {
			steps[k] = r.copyStep(p, m, m.Disks[i].Name, phase, round)
		}
		got, errs := engine.Parallel(run, steps)
		if slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, engine.ErrInterrupted) }) {
			return nil, total, engine.ErrInterrupted
		}
		if err := joinErrors(errs); err != nil {
			return nil, total, err
		}
		for k, i := range todo {
			have[i] = got[k]
			total = total.Add(got[k].Stats)
		}
		last := slices.MaxFunc(have, func(a, b copied) int { return a.Instant.Sequence - b.Instant.Sequence }).Instant
		todo = todo[:0]
		for i := range have {
			if have[i].Instant.ID != last.ID {
				todo = append(todo, i)
			}
		}
		if len(todo) == 0 {
			return have, total, nil
		}
	}
}

// stepName names a step of a phase; the first round has no number.
func stepName(verb, disk, phase string, round int) string {
	name := verb + " " + disk
	if phase != "" {
		name = phase + ": " + name
	}
	if round > 1 {
		name += fmt.Sprintf(", round %d", round)
	}
	return name
}

func (r *Recovery) copyStep(p Input, m dr.Machine, disk, phase string, round int) engine.Step[copied] {
	title := fmt.Sprintf("copy disk %s", disk)
	switch {
	case round > 1:
		title = fmt.Sprintf("bring disk %s to the instant of the others", disk)
	case phase == phaseHot:
		title += " while the machine runs"
	case phase == phaseRest:
		title = fmt.Sprintf("copy what changed on disk %s", disk)
	}
	return engine.Step[copied]{Name: stepName("copy", disk, phase, round), Title: title,
		Options: engine.StepOptions{Stall: copyStall, Retries: 5, Backoff: time.Second},
		Do: func(ctx context.Context, say *engine.Progress) (copied, error) {
			out, err := r.copyDisk(ctx, p, m, disk, say)
			if err != nil {
				return out, fmt.Errorf("copy disk %s of %s: %w", disk, p.Clone.about(), err)
			}
			return out, nil
		}}
}

// copyDisk copies one disk from the run's instant.
func (r *Recovery) copyDisk(ctx context.Context, p Input, m dr.Machine, disk string, say *engine.Progress) (out copied, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	from, at, verify, err := r.openSource(ctx, p, disk)
	if err != nil {
		return out, err
	}
	out = copied{Instant: at, Size: from.Size(), Began: r.o.Now().UTC()}
	to, err := r.openTarget(ctx, p, disk, true)
	if err != nil {
		return out, err
	}
	defer func() {
		// What is not on stable storage is not copied.
		if e := to.Close(); e != nil && err == nil {
			err = e
		}
	}()
	source, target := &witness{Device: from}, newDiskDevice(to)
	reader, err := r.access(ctx, r.grantOf(p, p.Clone.sourceName(at, disk), grant.Read), source, cancel)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	writer, err := r.access(ctx, r.grantOf(p, p.Clone.targetName(disk), grant.Write), target, cancel)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, writer.Close()) }()

	job := transfer.Job{Source: reader, Target: writer, Journal: r.journal(p, disk), Label: p.Clone.label(m, disk), Fixed: p.Clone.Group != "",
		Parallel: connections, Progress: say.Bytes}
	if out.Stats, err = transfer.Copy(ctx, job); err == nil {
		err = source.saw(verify())
	}
	out.Ended = r.o.Now().UTC()
	if source.failed() && p.Clone.Group == "" {
		// A capture that broke, because a guest wrote more than its site keeps aside, or that was ended by somebody who
		// started the machine, cannot be read again: the next try takes another.
		r.sources.spoiled(p, at)
	}
	if err = writer.why(ctx, reader.why(ctx, target.cause(source.cause(err)))); err != nil {
		return out, err
	}
	say.Say("%d MB read, %d MB written", out.Stats.Read/1e6, out.Stats.Written/1e6)
	return out, nil
}

func (r *Recovery) grantOf(p Input, disk string, a grant.Access) grant.Request {
	return grant.Request{Run: p.Run, Disk: disk, Access: a}
}

func (r *Recovery) journal(p Input, disk string) string {
	return filepath.Join(r.o.copyDir(p.Clone.Origin), disk+".journal")
}

// label says what a journal is of. A machine that runs is another one at every capture, and its journal tells by digests.
func (c *CloneSpec) label(m dr.Machine, disk string) string {
	return fmt.Sprintf("%s %s %s of %s to %s/%s", c.Origin, c.from(), disk, c.Machine, c.To, m.Name)
}

// sourceName and targetName name disks in grants.
func (c *CloneSpec) sourceName(at instant, disk string) string {
	if c.Group != "" {
		return c.Group + "@" + at.ID + "/" + c.Machine + "/" + disk
	}
	return c.Site + "/" + c.Machine + "/" + disk
}

func (c *CloneSpec) targetName(disk string) string { return c.To + "/" + c.As + "/" + disk }

// openSource returns a disk of the run's instant.
func (r *Recovery) openSource(ctx context.Context, p Input, disk string) (_ nbd.Device, at instant, verify func() error, err error) {
	s, err := r.sources.acquire(ctx, p)
	if err != nil {
		return nil, at, nil, err
	}
	s.opening.Lock()
	defer s.opening.Unlock()
	d := s.disks[disk]
	if d == nil {
		return nil, at, nil, dr.WithHint(fmt.Errorf("the machine has no disk %s any more", disk), dr.KindConflict, "copy it again under another name")
	}
	return d, s.instant, s.verify, nil
}

// openTarget opens a disk of the copy.
func (r *Recovery) openTarget(ctx context.Context, p Input, disk string, write bool) (site.Disk, error) {
	d, err := r.o.Sites(ctx, p.Clone.To)
	if err != nil {
		return nil, err
	}
	opener, ok := d.(site.DiskOpener)
	if !ok {
		return nil, dr.WithHint(fmt.Errorf("site %s runs no machines", p.Clone.To), dr.KindInvalid, "")
	}
	return opener.OpenDisk(ctx, p.Clone.As, disk, write)
}

// compareDisks reads every copy back and compares its digest with that of what was read from the source. It returns when
// each was done.
func (r *Recovery) compareDisks(run *engine.Run, p Input, m dr.Machine, phase string, have []copied) ([]time.Time, error) {
	steps := make([]engine.Step[time.Time], len(m.Disks))
	for i, d := range m.Disks {
		steps[i] = engine.Step[time.Time]{Name: stepName("compare", d.Name, phase, 1), Title: fmt.Sprintf("compare digests of disk %s", d.Name),
			Options: engine.StepOptions{Stall: copyStall, Retries: 2, Backoff: time.Second},
			Do: func(ctx context.Context, say *engine.Progress) (time.Time, error) {
				if err := r.compareDisk(ctx, p, d.Name, have[i], say); err != nil {
					return time.Time{}, err
				}
				say.Say("BLAKE3 %.16s", have[i].Stats.Sum)
				return r.o.Now().UTC(), nil
			}}
	}
	ends, errs := engine.Parallel(run, steps)
	if slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, engine.ErrInterrupted) }) {
		return nil, engine.ErrInterrupted
	}
	return ends, joinErrors(errs)
}

func (r *Recovery) compareDisk(ctx context.Context, p Input, disk string, h copied, say *engine.Progress) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	copy, err := r.openTarget(ctx, p, disk, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, copy.Close()) }()
	device := newDiskDevice(copy)
	reader, err := r.access(ctx, r.grantOf(p, p.Clone.targetName(disk), grant.Read), device, cancel)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	sum, err := transfer.Sum(ctx, reader, h.Size, connections, say.Bytes)
	if err = reader.why(ctx, device.cause(err)); err != nil {
		return fmt.Errorf("read disk %s of %s back: %w", disk, p.Clone.As, err)
	}
	if sum != h.Stats.Sum {
		return errors.Join(dr.WithHint(fmt.Errorf("disk %s of %s differs from what was copied to it: digest %s, not %s", disk, p.Clone.As, sum, h.Stats.Sum),
			dr.KindCorrupt, "check the storage of site "+p.Clone.To+", then: understudy run resume "+p.Run), transfer.Distrust(r.journal(p, disk)))
	}
	return nil
}
