package azure

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// state is what the site keeps of its own: what Azure has no place for.
type state struct {
	// Prepared are machines that were provisioned: a machine of Azure exists only from its first start on.
	Prepared map[string]prepared `json:"prepared"`
	// Next are disks that take the place of an attached one when their machine starts, by "machine/disk".
	Next map[string]string `json:"next,omitempty"`
	// Kept are the disks that Preserve keeps, by machine and name.
	Kept map[string]map[string]string `json:"kept,omitempty"`
}

// A prepared machine has disks and network interfaces, and is made when it is first started.
type prepared struct {
	Owner   string            `json:"owner"`
	Body    json.RawMessage   `json:"body"`    // what the machine is made from
	Request json.RawMessage   `json:"request"` // as it was asked for
	Held    string            `json:"held,omitempty"`
	Disks   map[string]string `json:"disks"` // ID by name
}

func (s *Site) load() error {
	s.state = state{Prepared: map[string]prepared{}, Next: map[string]string{}, Kept: map[string]map[string]string{}}
	data, err := os.ReadFile(filepath.Join(s.cfg.Dir, "state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(data, &s.state)
}

// save writes the state, with the lock held.
func (s *Site) save() error {
	if s.rest.record != nil {
		return nil
	}
	data, err := json.MarshalIndent(s.state, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(s.cfg.Dir, "state.json")
	if err := os.WriteFile(file+".part", data, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".part", file)
}

func parseInt(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
