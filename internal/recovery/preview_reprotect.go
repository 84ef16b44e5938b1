package recovery

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/store"
	"understudy/internal/transfer"
	"understudy/internal/vault"
)

// previewBytes bounds how much of a disk, in bytes, a preview reads; of a larger one it looks at evenly spread pieces.
const previewBytes = 256 << 20

// A ReprotectPreview is what a reprotection would copy, as measured.
type ReprotectPreview struct {
	Group  string
	Source string // where the group runs
	Target string // where it would be able to go back to
	Point  string // the newest, with which both sides are compared
	Disks  []ReprotectDisk
	ETA    time.Duration

	Refused, Hint string
	Warnings      []string
}

// A ReprotectDisk is one disk. Bytes are estimates when Sampled.
type ReprotectDisk struct {
	dr.DiskID
	Size int64
	// Send is what differs, where the group runs, from the newest recovery point: it goes to the vault.
	Send int64
	// Original says that the disk is still at the former site. Alone is what it holds there that is in no recovery point:
	// it would be written over, and is kept until the commit of a failback. Write is what would be written at most.
	Original bool
	Alone    int64
	Write    int64
	Sampled  bool
	ETA      time.Duration
}

// PreviewReprotect measures what a reprotection would copy, by reading disks of both sides. It writes nothing.
func (r *Recovery) PreviewReprotect(ctx context.Context, group string) (ReprotectPreview, error) {
	v, err := r.previewReprotect(ctx, group)
	if err != nil {
		return v, fmt.Errorf("preview reprotect of %s: %w", group, err)
	}
	return v, nil
}

func (r *Recovery) previewReprotect(ctx context.Context, group string) (v ReprotectPreview, err error) {
	g, err := r.o.Store.Group(ctx, group)
	if err != nil {
		return v, err
	}
	v = ReprotectPreview{Group: group, Source: g.Site, Target: g.Target}
	prot, err := r.o.Store.Protection(ctx, group)
	if err != nil {
		return v, err
	}
	if err := apply(&prot, dr.OpReprotect); err != nil {
		v.Refused, v.Hint = err.Error(), dr.Hint(err)
		return v, nil
	}
	vlt, err := r.o.Vaults(ctx, g.Vault)
	if err != nil {
		return v, err
	}
	head, err := vlt.Head(ctx, group)
	if err != nil {
		return v, err
	}
	v.Point = head.Point.ID
	point, err := vlt.OpenPoint(ctx, group, v.Point)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, point.Close()) }()
	if err := r.measureSource(ctx, g, point, &v); err != nil {
		return v, err
	}
	if err := r.measureOriginals(ctx, g, point, &v); err != nil {
		v.Warnings = append(v.Warnings, fmt.Sprintf("the machines at %s cannot be looked at now: %v", g.Target, err))
		if ctx.Err() != nil {
			return v, ctx.Err()
		}
	}
	for i := range v.Disks {
		v.ETA += v.Disks[i].ETA
	}
	return v, nil
}

// measureSource compares one instant of the running machines with the newest point.
func (r *Recovery) measureSource(ctx context.Context, g dr.Group, point *vault.Point, v *ReprotectPreview) (err error) {
	d, err := r.o.Sites(ctx, g.Site)
	if err != nil {
		return err
	}
	var id [8]byte
	rand.Read(id[:])
	// Under another name than the group's, so that no change tracking of its is touched.
	view, err := d.Capture(ctx, site.CaptureRequest{Group: g.Name + ".preview", Machines: namesOf(g.Machines), ID: hex.EncodeToString(id[:])})
	if err != nil {
		return fmt.Errorf("look at %s: %w", g.Site, err)
	}
	defer func() {
		end, stop := context.WithTimeout(context.WithoutCancel(ctx), r.o.SiteTimeout)
		defer stop()
		err = errors.Join(err, view.Abort(end))
	}()
	for _, captured := range view.Disks() {
		disk := ReprotectDisk{DiskID: captured.ID(), Size: captured.Size()}
		began := r.o.Now()
		held, err := point.Disk(captured.ID())
		switch {
		case dr.KindOf(err) == dr.KindNotFound:
			disk.Send = disk.Size
		case err != nil:
			return err
		default:
			st, scale, err := measure(ctx, liveDisk{captured}, grown{pointDisk{held}, captured.Size()})
			if err != nil {
				return fmt.Errorf("compare disk %s at %s: %w", disk.DiskID, g.Site, err)
			}
			disk.Send, disk.Sampled = int64(float64(st.Differ)*scale), scale > 1
			disk.ETA = time.Duration(float64(r.o.Now().Sub(began)) * scale)
		}
		v.Disks = append(v.Disks, disk)
	}
	return nil
}

// measureOriginals compares the disks that were left behind with the newest point.
func (r *Recovery) measureOriginals(ctx context.Context, g dr.Group, point *vault.Point, v *ReprotectPreview) error {
	d, err := r.o.Sites(ctx, g.Target)
	if err != nil {
		return err
	}
	there, err := d.Machines(ctx)
	if err != nil {
		return err
	}
	opener, ok := d.(site.DiskOpener)
	if !ok {
		return errors.New("the site cannot open disks of stopped machines")
	}
	for i := range v.Disks {
		disk := &v.Disks[i]
		at := slices.IndexFunc(there, func(m dr.Machine) bool { return m.Name == disk.Machine })
		if at < 0 {
			v.warn("%s no longer exists at %s: a failback creates it anew", disk.Machine, g.Target)
			continue
		}
		ours, err := r.leftBehind(ctx, g.Name, g.Target, disk.Machine)
		if err != nil {
			return err
		}
		if !ours {
			v.warn("machine %s exists at %s and is none of the group's: a failback is refused while it is there", disk.Machine, g.Target)
			continue
		}
		if there[at].Power == dr.PowerOn || there[at].Power == dr.PowerPaused {
			v.warn("%s at %s is running: it is held when it is next looked at", disk.Machine, g.Target)
			continue
		}
		held, err := point.Disk(disk.DiskID)
		if err != nil || roleOf(there[at], disk.Disk) != dr.RoleDisk {
			continue
		}
		row, _, err := r.o.Store.Original(ctx, g.Target, disk.Machine)
		if err != nil {
			return err
		}
		disk.Original = true
		if err := r.measureOriginal(ctx, opener, held, row, disk); err != nil {
			return fmt.Errorf("compare disk %s at %s: %w", disk.DiskID, g.Target, err)
		}
	}
	return nil
}

func (r *Recovery) measureOriginal(ctx context.Context, opener site.DiskOpener, held *vault.Disk, row store.Original, disk *ReprotectDisk) (err error) {
	began := r.o.Now()
	open, err := opener.OpenDisk(ctx, disk.Machine, disk.Disk, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, open.Close()) }()
	if open.Size() != held.Size() {
		return dr.WithHint(fmt.Errorf("it has %d bytes, %d in the recovery point", open.Size(), held.Size()), dr.KindConflict, "")
	}
	st, scale, err := measure(ctx, pointDisk{held}, open)
	if err != nil {
		return err
	}
	differ := int64(float64(st.Differ) * scale)
	disk.Sampled = disk.Sampled || scale > 1
	// Of an original that is known to be at a point nothing is in no point.
	if row.Base == "" {
		disk.Alone = differ
	}
	disk.Write = min(disk.Size, differ+disk.Send)
	disk.ETA += time.Duration(float64(r.o.Now().Sub(began)) * scale)
	return nil
}

func (v *ReprotectPreview) warn(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(v.Warnings, text) {
		v.Warnings = append(v.Warnings, text)
	}
}

func roleOf(m dr.Machine, disk string) dr.DiskRole {
	for _, d := range m.Disks {
		if d.Name == disk {
			return d.Role
		}
	}
	return dr.RoleDisk
}

// measure counts what differs, by a sample of a large disk; scale is by how much the disk is larger than that.
func measure(ctx context.Context, source transfer.Source, target transfer.Target) (st transfer.Stats, scale float64, err error) {
	whole := []dr.Extent{{Length: source.Size()}}
	if source.Size() == 0 {
		return st, 1, nil
	}
	ranges := sample(whole, previewBytes)
	st, err = transfer.Copy(ctx, transfer.Job{Source: source, Target: target, Ranges: ranges, Compare: true, DryRun: true})
	return st, float64(source.Size()) / float64(max(1, st.Total)), err
}

// liveDisk is a captured disk as a source of a comparison.
type liveDisk struct{ site.CapturedDisk }

// Extents says that anything may hold data.
func (liveDisk) Extents(_ context.Context, off, n int64) ([]dr.Extent, error) {
	return []dr.Extent{{Offset: off, Length: n}}, nil
}

// grown is a disk of a recovery point as something to compare with that may have grown since. It is never written.
type grown struct {
	pointDisk
	size int64
}

func (g grown) Size() int64 { return g.size }

// ReadAt reads zeros beyond what the point has.
func (g grown) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if have := g.pointDisk.Size() - off; have > 0 {
		var err error
		if n, err = g.pointDisk.ReadAt(p[:min(int64(len(p)), have)], off); err != nil && err != io.EOF {
			return n, err
		}
	}
	clear(p[n:])
	return len(p), nil
}

// Extents says that anything may hold data.
func (g grown) Extents(_ context.Context, off, n int64) ([]dr.Extent, error) {
	return []dr.Extent{{Offset: off, Length: n}}, nil
}

var errNotWritten = errors.New("a recovery point is not written to")

func (grown) WriteAt([]byte, int64) (int, error) { return 0, errNotWritten }
func (grown) Zero(int64, int64) error            { return errNotWritten }
func (grown) Flush() error                       { return nil }
