package image

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// settled is how long a file must have been left alone before a capture for its times to prove that nothing was
// written after it: file systems keep time in coarse ticks.
const settled = 2 * time.Second

// stamp is what tells a file that was touched from one that was not.
type stamp struct {
	Identity string `json:"identity"` // device and inode
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // nanoseconds since 1970
	Changed  int64  `json:"changed"`  // inode change time, nanoseconds since 1970; no program can set it back
}

// stamps are the files of a group as they were at one committed capture.
type stamps struct {
	CaptureID string           `json:"captureId"`
	Taken     int64            `json:"taken"` // nanoseconds since 1970
	Files     map[string]stamp `json:"files"`
}

// readStamp looks at a file and those beside it that its content lies in. Without an identity nothing is proven.
func readStamp(file string, beside []string) (stamp, error) {
	st, err := os.Stat(file)
	if err != nil {
		return stamp{}, err
	}
	s := stamp{Size: st.Size(), Modified: st.ModTime().UnixNano()}
	s.Identity, s.Changed = fileIdentity(st)
	for _, name := range beside {
		st, err := os.Stat(name) // what is no file, such as an address, cannot be told from one that was touched
		if err != nil {
			return stamp{Size: s.Size, Modified: s.Modified, Changed: s.Changed}, nil
		}
		identity, changed := fileIdentity(st)
		if identity == "" || s.Identity == "" {
			s.Identity = ""
			continue
		}
		s.Identity += fmt.Sprintf(" %s:%d:%d:%d", identity, st.Size(), st.ModTime().UnixNano(), changed)
		s.Changed = max(s.Changed, changed)
	}
	return s, nil
}

// touched tells whether a file may differ from the capture since, and why, for people.
func (s stamps) touched(file string, now stamp, since string) (bool, string) {
	old, ok := s.Files[file]
	switch {
	case since == "":
		return true, "first capture"
	case s.CaptureID != since || !ok || now.Identity == "":
		return true, "image files carry no change tracking"
	case old != now || s.Taken-now.Changed < int64(settled):
		return true, "the file was touched"
	}
	return false, ""
}

func (d *Driver) stampFile(group string) string {
	return filepath.Join(d.cfg.Dir, group, "image-files.json")
}

// loadStamps returns nothing known when there is no usable file: the content is then compared.
func (d *Driver) loadStamps(group, since string) stamps {
	var s stamps
	data, err := os.ReadFile(d.stampFile(group))
	if err != nil || json.Unmarshal(data, &s) != nil || s.CaptureID != since {
		return stamps{}
	}
	return s
}

func (d *Driver) saveStamps(c *capture, captureID string) error {
	s := stamps{CaptureID: captureID, Taken: c.at.UnixNano(), Files: map[string]stamp{}}
	for _, dk := range c.disks {
		s.Files[dk.file] = dk.before
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	file := d.stampFile(c.req.Group)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("remember image files: %w", err)
	}
	if err := os.WriteFile(file+".tmp", data, 0o600); err != nil {
		return fmt.Errorf("remember image files: %w", err)
	}
	return os.Rename(file+".tmp", file)
}
