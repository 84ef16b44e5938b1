package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// Kept content. Preserve puts a qcow2 layer over each disk, kept/MACHINE/DISK.qcow2, which takes all writes from then on;
// the disk below is not written to. kept/MACHINE/kept.json says which disks have one, and while it names a disk, its
// layer is what the machine runs on, whatever its definition says. So the file is written after the layers exist, and
// shrinks before one is removed: what it names is always the content of the disk, at every step of what follows.
//
// Reverting removes the file: the disks are as they were. Accepting copies each layer into the disk below, which changes
// nothing of what is read through the layer and may be interrupted and repeated, and then takes the disk out of the
// file. In a running QEMU (block-commit) the guest writes to the disk below from the moment that QEMU switches over, and
// then the layer is the content no more: so the guest stands still from before the switch until the file says so.

// kept is the content of kept.json.
type kept struct {
	// Accepting says that disks below may have been written to: there is no way back.
	Accepting bool             `json:"accepting,omitempty"`
	Layers    map[string]layer `json:"layers"` // by disk
	// Switching names the disk that QEMU is about to run without its layer; Stopped says that the guest stands still
	// for that.
	Switching string `json:"switching,omitempty"`
	Stopped   bool   `json:"stopped,omitempty"`
}

// layer is a disk that has a layer: the disk below it, as the definition has it.
type layer struct {
	Path   string `json:"path"`
	Format string `json:"format"`
	Size   int64  `json:"size"`
}

func (d *Driver) keptDir(name string) string { return filepath.Join(d.cfg.Dir, "kept", name) }

func (m *machine) keptPath() string { return filepath.Join(m.d.keptDir(m.name), "kept.json") }

func (m *machine) layerPath(disk string) string {
	return filepath.Join(m.d.keptDir(m.name), disk+".qcow2")
}

// readKept returns nil when nothing is kept.
func (m *machine) readKept() (*kept, error) {
	b, err := os.ReadFile(m.keptPath())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var k kept
	if err == nil {
		err = json.Unmarshal(b, &k)
	}
	if err != nil {
		return nil, dr.WithHint(fmt.Errorf("machine %s: kept disks: %w", m.name, err), dr.KindCorrupt, "mend "+m.keptPath()+"; the layers beside it hold what was written last")
	}
	return &k, nil
}

func (m *machine) writeKept(k kept) error {
	if err := writeJSON(m.keptPath(), k); err != nil {
		return fmt.Errorf("machine %s: kept disks: %w", m.name, err)
	}
	return nil
}

// putLayers replaces the disks of a definition by the layers over them.
func (m *machine) putLayers(def *definition) error {
	k, err := m.readKept()
	if k == nil || err != nil {
		return err
	}
	def.Layers = k.Layers
	for i := range def.Disks {
		d := &def.Disks[i]
		l, ok := k.Layers[d.Name]
		if !ok || d.Role != dr.RoleDisk {
			continue
		}
		if l.Path != d.Path {
			return dr.WithHint(fmt.Errorf("machine %s: disk %s: the content of %s is kept, but the definition names %s", m.name, d.Name, l.Path, d.Path),
				dr.KindConflict, "give the definition its former path until the disk is settled")
		}
		d.Path, d.Format = m.layerPath(d.Name), "qcow2"
		img, err := readImage(d.Path, d.Format)
		if err != nil {
			return fmt.Errorf("machine %s: disk %s: %w", m.name, d.Name, err)
		}
		if d.Size = img.Size; img.Size == sectors(l.Size) {
			d.Size = l.Size
		}
	}
	return nil
}

// layered reports whether a layer is over a disk.
func (m *machine) layered(disk string) bool {
	_, ok := m.definition().Layers[disk]
	return ok
}

// Preserve puts layers over the disks of a stopped machine.
func (d *Driver) Preserve(ctx context.Context, name string) error {
	m, unlock, err := d.stoppedMachine(ctx, "preserve", name)
	if err != nil {
		return err
	}
	defer unlock()
	k, err := m.readKept()
	if err != nil {
		return err
	}
	if k != nil && !k.Accepting {
		return nil
	}
	if k != nil { // an earlier accept was cut off
		if err := m.acceptStopped(ctx, k); err != nil {
			return fmt.Errorf("preserve %s: %w", name, err)
		}
	}
	if err := m.preserve(ctx); err != nil {
		_ = os.RemoveAll(d.keptDir(name))
		return fmt.Errorf("preserve %s: %w", name, err)
	}
	return m.load()
}

// stoppedMachine returns a machine that is off and has no disk open, locked and with its definition read anew.
func (d *Driver) stoppedMachine(ctx context.Context, what, name string) (*machine, func(), error) {
	m, err := d.machine(name)
	if err != nil {
		return nil, nil, err
	}
	unlock, err := m.lockNow(ctx)
	if err != nil {
		return nil, nil, err
	}
	if m.running() {
		err = dr.WithHint(fmt.Errorf("%s %s: the machine runs", what, name), dr.KindConflict, "stop the machine first")
	} else if err = m.unopened(ctx, what, everyone); err == nil {
		err = m.load()
	}
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return m, unlock, nil
}

func (m *machine) preserve(ctx context.Context) error {
	dir := m.d.keptDir(m.name)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	k := kept{Layers: map[string]layer{}}
	for _, disk := range m.def().Disks {
		if disk.Role != dr.RoleDisk {
			continue
		}
		img, err := readImage(disk.Path, disk.Format)
		if err != nil {
			return err
		}
		if strings.HasPrefix(img.Backing, "json:") || strings.Contains(img.Backing, "://") {
			return dr.WithHint(fmt.Errorf("disk %s still reads from the recovery point that it was made of", disk.Name), dr.KindConflict,
				"let its hydration end first")
		}
		below := disk.Path
		if rel, err := filepath.Rel(m.d.cfg.Dir, disk.Path); err == nil && filepath.IsLocal(rel) {
			below, _ = filepath.Rel(dir, disk.Path) // a site that is moved finds it
		}
		path := m.layerPath(disk.Name)
		if err := m.d.image(ctx, nil, "create", "-q", "-f", "qcow2", "-F", disk.Format, "-b", below, path, strconv.FormatInt(sectors(disk.Size), 10)); err != nil {
			return fmt.Errorf("disk %s: %w", disk.Name, err)
		}
		if err := syncFile(path); err != nil {
			return fmt.Errorf("disk %s: %w", disk.Name, err)
		}
		k.Layers[disk.Name] = layer{Path: disk.Path, Format: disk.Format, Size: disk.Size}
	}
	if err := errors.Join(syncDir(dir), syncDir(filepath.Dir(dir))); err != nil {
		return err
	}
	return m.writeKept(k)
}

// syncFile makes a file durable that another program wrote.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Settle ends what Preserve began. The layers of a running machine are taken in while its guest works; captures wait for
// that, and any other action on the machine interrupts it, after which it begins again.
func (d *Driver) Settle(ctx context.Context, name string, accept bool) error {
	if !accept {
		return d.revert(ctx, name)
	}
	for {
		err := d.accept(ctx, name)
		if errors.Is(err, errMoved) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return fmt.Errorf("settle %s: %w", name, err)
		}
		return nil
	}
}

func (d *Driver) revert(ctx context.Context, name string) error {
	m, err := d.machine(name)
	if err != nil {
		return err
	}
	if k, err := m.readKept(); k == nil {
		return err
	}
	m, unlock, err := d.stoppedMachine(ctx, "revert", name)
	if err != nil {
		return err
	}
	defer unlock()
	k, err := m.readKept()
	switch {
	case err != nil || k == nil:
		return err
	case k.Accepting:
		return dr.WithHint(fmt.Errorf("revert %s: what was written is being made the disks' content already", name), dr.KindConflict,
			"let that end: repeat what accepted it")
	}
	return m.settled()
}

// settled ends the keeping: from here on the definition's own disks are the machine's.
func (m *machine) settled() error {
	if err := os.Remove(m.keptPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("machine %s: kept disks: %w", m.name, err)
	}
	dir := m.d.keptDir(m.name)
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("machine %s: kept disks: %w", m.name, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("machine %s: kept disks: %w", m.name, err)
	}
	return m.load()
}

var _ site.Preserver = (*Driver)(nil)
