package replicate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/replicate/hashmap"
)

func (cy *cycle) dir() string     { return filepath.Join(cy.Dir, cy.group.Name) }
func (cy *cycle) journal() string { return filepath.Join(cy.dir(), "seed.journal") }

// seedID is what the hash maps of an unfinished seed carry in place of a capture ID.
const seedID = "seed"

// openMaps opens the hash maps that reflect the vault's newest point. It tells whether a seed is needed: because the
// vault has no point, or because the maps are lost and the vault, which could replace them, cannot be read here.
func (cy *cycle) openMaps(ctx context.Context) (seed bool, err error) {
	cy.maps = map[dr.DiskID]*hashmap.Map{}
	if err := os.MkdirAll(cy.dir(), 0o700); err != nil {
		return false, err
	}
	if cy.head.CaptureID == "" {
		return true, nil
	}
	if _, err := os.Stat(cy.journal()); err == nil {
		return true, nil // an unfinished seed over an older history
	} else if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	var lost []dr.DiskID
	for _, d := range cy.view.Disks() {
		m, valid, err := hashmap.Open(cy.dir(), d.ID(), d.Size(), cy.head.CaptureID)
		if err != nil {
			return false, errors.Join(fmt.Errorf("open hash map of %s: %w", d.ID(), err), cy.closeMaps())
		}
		if valid {
			cy.maps[d.ID()] = m
			continue
		}
		lost = append(lost, d.ID())
	}
	if len(lost) == 0 {
		return false, nil
	}
	if !cy.Vault.CanRead() {
		cy.rebuilt = "hash map lost, and the vault's key is not here to replace it"
		return true, cy.closeMaps()
	}
	if err := cy.rebuildMaps(ctx, lost); err != nil {
		return false, errors.Join(err, cy.closeMaps())
	}
	return false, nil
}

// rebuildMaps makes the hash maps of some disks anew from the vault's newest point. The site's tracking of them is
// still good, since it is tied to the same capture.
func (cy *cycle) rebuildMaps(ctx context.Context, lost []dr.DiskID) error {
	cy.report("comparing")
	if cy.Spool != nil && (cy.lease == nil || cy.Spool.State(cy.group.Name).Points > 0) {
		return dr.WithHint(errors.New("rebuild hash maps: the point that they are made from is not to be had while captures wait in the spool"),
			dr.KindUnavailable, "bring the vault's storage back")
	}
	point, err := cy.Vault.OpenPoint(ctx, cy.group.Name, cy.head.Point.ID)
	if err != nil {
		return fmt.Errorf("rebuild hash maps: %w", err)
	}
	defer point.Close()
	sizes := map[dr.DiskID]int64{}
	for _, d := range cy.view.Disks() {
		sizes[d.ID()] = d.Size()
	}
	for _, id := range lost {
		m, err := hashmap.Create(cy.dir(), id, sizes[id])
		if err != nil {
			return fmt.Errorf("rebuild hash map of %s: %w", id, err)
		}
		cy.maps[id] = m
		disk, err := point.Disk(id)
		if dr.KindOf(err) == dr.KindNotFound {
			continue // a disk that the point does not have: all zeros there
		}
		if err != nil {
			return fmt.Errorf("rebuild hash map of %s: %w", id, err)
		}
		cy.rebuilt = "hash map lost; made anew from the vault"
		buf := make([]byte, chunk)
		for _, e := range disk.Extents(0, min(disk.Size(), sizes[id])) {
			for off := e.Offset; !e.Zero && off < e.End(); off += chunk {
				p := buf[:min(chunk, e.End()-off)]
				if _, err := disk.ReadAt(p, off); err != nil {
					return fmt.Errorf("rebuild hash map of %s: %w", id, err)
				}
				if err := m.Diff(off, p, func(int64, []byte, bool) error { return nil }); err != nil {
					return err
				}
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if err := m.Stage(cy.head.CaptureID); err != nil {
			return err
		}
		if err := m.Apply(); err != nil {
			return err
		}
	}
	return nil
}

// openSeedMaps gives a seed its hash maps: those of the parts that it already has, or empty ones.
func (cy *cycle) openSeedMaps(resumed bool) error {
	for _, d := range cy.view.Disks() {
		var m *hashmap.Map
		var valid bool
		var err error
		if resumed {
			if m, valid, err = hashmap.Open(cy.dir(), d.ID(), d.Size(), seedID); err != nil {
				return fmt.Errorf("open hash map of %s: %w", d.ID(), err)
			}
		}
		if !valid {
			// Nothing is known of parts that were sent: they are sent again and lie over the first ones.
			if m, err = hashmap.Create(cy.dir(), d.ID(), d.Size()); err != nil {
				return fmt.Errorf("create hash map of %s: %w", d.ID(), err)
			}
			if err = m.Stage(seedID); err == nil {
				err = m.Apply()
			}
			if err != nil {
				return err
			}
		}
		cy.maps[d.ID()] = m
	}
	return nil
}

// partDurable is told which extents of a seed can no longer be lost. It may be called in the middle of a comparison,
// so that it only notes them.
func (cy *cycle) partDurable(extents map[dr.DiskID][]dr.Extent) error {
	cy.durableMu.Lock()
	defer cy.durableMu.Unlock()
	cy.durable = append(cy.durable, extents)
	return nil
}

// markDurable takes what is durable over into the hash maps. It waits until no comparison runs: then every extent
// noted has its hashes collected.
func (cy *cycle) markDurable() error {
	cy.durableMu.Lock()
	noted := cy.durable
	cy.durable = nil
	cy.durableMu.Unlock()
	if len(noted) == 0 {
		return nil
	}
	cy.comparing.Lock()
	defer cy.comparing.Unlock()
	for _, extents := range noted {
		for id, list := range extents {
			for _, e := range list {
				if err := cy.maps[id].Mark(e.Offset, e.Length); err != nil {
					return fmt.Errorf("mark hash map of %s: %w", id, err)
				}
			}
		}
	}
	return nil
}

func (cy *cycle) discardMaps() error {
	var errs []error
	for _, m := range cy.maps {
		errs = append(errs, m.Discard())
	}
	return errors.Join(errs...)
}

func (cy *cycle) closeMaps() error {
	var errs []error
	for id, m := range cy.maps {
		errs = append(errs, m.Close())
		delete(cy.maps, id)
	}
	return errors.Join(errs...)
}

// description is a digest of what the machines look like, without what changes by itself.
func (cy *cycle) description() ([]byte, error) {
	plain := make([]dr.Machine, len(cy.machines))
	for i, m := range cy.machines {
		m.Power, m.Owner = "", ""
		m.Extensions = slices.Clone(m.Extensions)
		for j := range m.Extensions {
			e := &m.Extensions[j]
			e.Status, e.Heartbeat, e.Message = "", time.Time{}, ""
		}
		plain[i] = m
	}
	data, err := json.Marshal(plain)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	return sum[:], nil
}

func (cy *cycle) descriptionFile() string { return filepath.Join(cy.dir(), "machines.sha256") }

// sameDescription tells whether the machines look as they did at the last point. When it is not known they do not.
func (cy *cycle) sameDescription() bool {
	now, err := cy.description()
	if err != nil {
		return false
	}
	old, err := os.ReadFile(cy.descriptionFile())
	return err == nil && bytes.Equal(old, now)
}

func (cy *cycle) rememberDescription() error {
	sum, err := cy.description()
	if err != nil {
		return err
	}
	return os.WriteFile(cy.descriptionFile(), sum, 0o600)
}
