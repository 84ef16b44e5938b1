package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

// marks is the object of a group that hides what compaction replaced, before it is deleted: readers that come later do
// not use it, those that came earlier have the grace period to pin it. It changes by compare-and-swap, so that of two
// compactions at once one fails. What is marked is never unmarked, only deleted.
type marks struct {
	Format  int         `json:"format"`
	Batches []markBatch `json:"batches,omitempty"`
	Retired []string    `json:"retired,omitempty"` // IDs of points that are not listed, though others are still made of them

	// Names that keep points from being retired or merged away. They are here, and not in an object of their own, so that
	// of a name given and a compaction that drops the point at the same moment one fails.
	Names []markName `json:"names,omitempty"`

	tag     string
	damaged error // what is stored cannot be read; it is not replaced, since names would go with it
}

// without is the marks of a group whose marks are damaged.
func (m *marks) without(cause error) *marks {
	return &marks{Format: formatVersion, tag: m.tag, damaged: cause}
}

type markName struct {
	Name  string    `json:"name"`
	Point string    `json:"point"` // ID
	Time  time.Time `json:"time"`  // when it was given
}

type markBatch struct {
	Time    time.Time `json:"time"`
	Objects []string  `json:"objects"` // names after "g/<group>/"
}

// maxMarks bounds the stored form; what does not fit is marked by a later compaction.
const maxMarks = 60 << 10

func marksName(group string) string { return "g/" + group + "/marks" }

func (v *Vault) readMarks(ctx context.Context, group string) (*marks, error) {
	data, tag, err := v.store.GetTagged(ctx, marksName(group))
	if errors.Is(err, blob.ErrNotFound) {
		return &marks{Format: formatVersion}, nil
	}
	if dr.KindOf(err) == dr.KindCorrupt && err != nil {
		return &marks{}, damagedState(group, fmt.Errorf("read marks of group %s: %w", group, err))
	}
	if err != nil {
		return nil, fmt.Errorf("read marks of group %s: %w", group, unavailable(err))
	}
	m := &marks{tag: tag}
	if err := json.Unmarshal(data, m); err != nil || m.Format != formatVersion {
		return m, damagedState(group, fmt.Errorf("read marks of group %s: not of format %d", group, formatVersion))
	}
	return m, nil
}

func (v *Vault) writeMarks(ctx context.Context, group string, m *marks) error {
	if m.damaged != nil {
		return m.damaged
	}
	data, err := json.Marshal(m)
	if err == nil {
		m.tag, err = v.store.PutTagged(ctx, marksName(group), data, m.tag)
	}
	if err != nil {
		return fmt.Errorf("write marks of group %s: %w", group, unavailable(err))
	}
	return nil
}

// add marks objects and retires points as far as there is room, and reports whether anything changed.
func (m *marks) add(now time.Time, objects, retired []string) bool {
	size := 256 + maxName*4*len(m.Names)
	for _, b := range m.Batches {
		size += 64
		for _, o := range b.Objects {
			size += len(o) + 3
		}
	}
	changed := len(m.Retired) != len(retired)
	for i, id := range retired {
		changed = changed || m.Retired[i] != id
		size += len(id) + 3
	}
	m.Retired = retired
	b := markBatch{Time: now.UTC()}
	for _, o := range objects {
		if size += len(o) + 3; size > maxMarks {
			break
		}
		b.Objects = append(b.Objects, o)
	}
	if len(b.Objects) > 0 {
		m.Batches = append(m.Batches, b)
		changed = true
	}
	return changed
}
