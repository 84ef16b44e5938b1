package qemu

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"understudy/internal/dr"
)

// Change tracking.
//
// Every disk of a running machine has, per group that captures it, a dirty bitmap us-GROUP-CAPTURE that records what was
// written since that capture (GROUP is a digest). At the instant of a capture, one transaction disables the bitmap of
// the capture before and adds a recording one for the new capture. Commit removes the old one; Abort merges the new one
// into the old, which records again. When nobody does either because the controller died, both stay, and the next
// capture finds out by the capture that its caller really holds which of the two things should have happened.
//
// A capture that found nothing written since the one before has no bitmap of its own: what has changed since either is
// the same. Its record names the bitmap that tells.

// bitmap is QEMU's BlockDirtyInfo.
type bitmap struct {
	Name         string `json:"name"`
	Count        int64  `json:"count"` // dirty bytes
	Recording    bool   `json:"recording"`
	Busy         bool   `json:"busy"`
	Persistent   bool   `json:"persistent"`
	Inconsistent bool   `json:"inconsistent"`
}

func bitmapPrefix(group string) string { return "us-" + digest("group", group)[:8] + "-" }

// tracking is what the bitmaps on a disk's active node allow.
type tracking struct {
	since  string   // the bitmap of what changed since the capture asked for; empty when there is none to be trusted
	enable bool     // it records; else what it lacks is in fold
	fold   []string // bitmaps to merge into since at the instant
	count  int64    // dirty bytes in since
	reason string   // why since is empty
	broken []string // inconsistent bitmaps of ours, of any group: good for nothing but removal
}

// trackSince decides whether the bitmaps of the active node tell what changed since a capture: by the bitmap named for
// it, or by another that its record names.
func trackSince(bitmaps []bitmap, group, since, other string) tracking {
	var t tracking
	prefix := bitmapPrefix(group)
	want := cmp.Or(other, prefix+since)
	var found *bitmap
	for i, b := range bitmaps {
		switch {
		case b.Inconsistent && strings.HasPrefix(b.Name, "us-"):
			t.broken = append(t.broken, b.Name)
			if since != "" && b.Name == want {
				t.reason = "bitmap inconsistent (QEMU ended uncleanly)"
			}
		case b.Inconsistent || !strings.HasPrefix(b.Name, prefix):
		case since != "" && b.Name == want:
			found = &bitmaps[i]
		default:
			t.fold = append(t.fold, b.Name)
		}
	}
	recorded := false // by one of fold
	for _, b := range bitmaps {
		if strings.HasPrefix(b.Name, prefix) && b.Name != want && !b.Inconsistent && b.Recording {
			recorded = true
		}
	}
	switch {
	case since == "":
		t.reason = "first capture"
	case found == nil && t.reason == "":
		t.reason = "no bitmap since the last capture (machine restarted, captured by others, or its active image changed)"
		if len(t.fold) > 0 {
			t.reason = "bitmap is of another capture"
		}
	case found == nil:
	case found.Busy:
		t.reason = "bitmap is in use by another program"
	case found.Recording:
		t.since, t.count, t.enable, t.fold = found.Name, found.Count, true, nil
		return t
	case len(t.broken) > 0 || !recorded:
		t.reason = "bitmap was stopped by another program"
	default:
		t.since = found.Name
		return t
	}
	t.fold = nil
	return t
}

// record is what the site remembers of a capture, per disk, to judge change tracking by when it is next asked for
// changes since it. It need not survive a crash of the host: without it everything is compared.
type record struct {
	Disks map[string]diskRecord `json:"disks"`
}

type diskRecord struct {
	Size  int64  `json:"size"`
	Stamp string `json:"stamp,omitempty"` // of a file that nobody had open for writing
	// Bitmap is the one that records what changes from then on, when it is not named for the capture.
	Bitmap string `json:"bitmap,omitempty"`
}

func (m *machine) recordPath(group string) string {
	return filepath.Join(m.dir(), "captures-"+bitmapPrefix(group)[3:11]+".json")
}

// readRecords returns what is remembered of a group's captures by capture ID.
func (m *machine) readRecords(group string) map[string]record {
	records := map[string]record{}
	b, err := os.ReadFile(m.recordPath(group))
	if err != nil || json.Unmarshal(b, &records) != nil {
		return map[string]record{}
	}
	return records
}

// writeRecords remembers the captures given and forgets others. It replaces the file without waiting for the disk.
func (m *machine) writeRecords(group string, records map[string]record) error {
	b, err := json.Marshal(records)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.dir(), 0o700); err != nil {
		return err
	}
	path := m.recordPath(group)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("remember capture: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("remember capture: %w", err)
	}
	return nil
}

// fileStamp changes when a file does. It is taken while nobody writes to the file.
func fileStamp(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	return stamp(st, path), nil
}

func stamp(st os.FileInfo, path string) string {
	return fmt.Sprintf("%d %d %d %s", st.Size(), st.ModTime().UnixNano(), inode(st), path)
}

// appendExtent adds an extent, joining neighbours of one kind.
func appendExtent(list []dr.Extent, e dr.Extent) []dr.Extent {
	if e.Length <= 0 {
		return list
	}
	if n := len(list) - 1; n >= 0 && list[n].End() == e.Offset && list[n].Zero == e.Zero {
		list[n].Length += e.Length
		return list
	}
	return append(list, e)
}

// clip returns the parts of sorted extents that lie in sorted ranges.
func clip(extents, ranges []dr.Extent) []dr.Extent {
	var out []dr.Extent
	for i, j := 0, 0; i < len(extents) && j < len(ranges); {
		lo := max(extents[i].Offset, ranges[j].Offset)
		hi := min(extents[i].End(), ranges[j].End())
		out = appendExtent(out, dr.Extent{Offset: lo, Length: hi - lo, Zero: extents[i].Zero})
		if extents[i].End() <= ranges[j].End() {
			i++
		} else {
			j++
		}
	}
	return out
}

// windows joins ranges that are close, so that a few questions cover many scattered ones.
func windows(ranges []dr.Extent, gap int64) []dr.Extent {
	var out []dr.Extent
	for _, r := range ranges {
		if n := len(out) - 1; n >= 0 && r.Offset-out[n].End() <= gap {
			out[n].Length = r.End() - out[n].Offset
		} else {
			out = append(out, dr.Extent{Offset: r.Offset, Length: r.Length})
		}
	}
	return out
}
