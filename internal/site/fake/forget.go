package fake

import (
	"context"
	"fmt"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// OpForget is Forget.
const OpForget Op = "forget"

// Forget implements site.Forgetter.
func (s *Site) Forget(ctx context.Context, group string, machines []string) error {
	if err := s.begin(ctx, OpForget); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range machines {
		m := s.machines[name]
		if m == nil {
			continue
		}
		for disk, d := range m.disks {
			if t := d.tracks[group]; t != nil && t.open != nil && !t.open.loose {
				return dr.WithHint(fmt.Errorf("forget captures of %s/%s: a capture of group %s is under way", name, disk, group), dr.KindConflict, "wait until it has ended")
			}
			delete(d.tracks, group)
		}
	}
	return nil
}

// Tracked lists the groups whose changes are tracked on a disk.
func (s *Site) Tracked(id dr.DiskID) (groups []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, err := s.disk(id); err == nil {
		for g := range d.tracks {
			groups = append(groups, g)
		}
	}
	return groups
}

var _ site.Forgetter = (*Site)(nil)
