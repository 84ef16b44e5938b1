package vault

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"understudy/internal/vault/segment"
)

// The journal of a seed is a local file of JSON lines, each appended and synced: first a journalSeed, then one
// journalLine per part begun or made durable. It holds the seed's key, which the vault gives only to its recipients, so
// it is readable by its owner alone. A torn last line is ignored.
type journalSeed struct {
	Format   int         `json:"format"`
	Vault    string      `json:"vault"`
	Group    string      `json:"group"`
	Epoch    uint64      `json:"epoch"`
	Sequence uint64      `json:"sequence"`
	Seed     string      `json:"seed"`
	Key      segment.Key `json:"key"`
	Wrapped  []byte      `json:"wrapped"`
}

type journalLine struct {
	Begun uint32        `json:"begun,omitempty"` // the number is used up, whether or not the part becomes durable
	Part  *segment.Part `json:"part,omitempty"`
	Index []byte        `json:"index,omitempty"` // plain, as in the part
}

type journal struct {
	seed  journalSeed
	parts []segment.Part
	index []*segment.Index
	last  uint32 // highest number begun
	f     *os.File
	mu    sync.Mutex // a part begins while the one before it is completed
}

// openJournal reads a journal for appending. One that is missing or not usable is nil.
func openJournal(path string, want journalSeed) (*journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open seed journal: %w", err)
	}
	j := &journal{f: f}
	ok, err := j.read(want)
	if err != nil || !ok {
		f.Close()
		return nil, err
	}
	return j, nil
}

func (j *journal) read(want journalSeed) (bool, error) {
	r := bufio.NewReader(j.f)
	var whole int64 // length of the lines that are whole
	for first := true; ; first = false {
		line, err := r.ReadBytes('\n')
		if err != nil {
			break // end, or a torn line
		}
		if first {
			if json.Unmarshal(line, &j.seed) != nil {
				return false, nil
			}
			w := want
			w.Seed, w.Key, w.Wrapped = j.seed.Seed, j.seed.Key, j.seed.Wrapped
			if g, err := json.Marshal(j.seed); err != nil || !equalJSON(g, w) || j.seed.Seed == "" {
				return false, nil
			}
		} else {
			var l journalLine
			if json.Unmarshal(line, &l) != nil {
				break
			}
			j.last = max(j.last, l.Begun)
			if l.Part != nil {
				x, err := segment.DecodeIndex(l.Index)
				if err != nil {
					break
				}
				j.parts = append(j.parts, *l.Part)
				j.index = append(j.index, x)
				j.last = max(j.last, l.Part.Number)
			}
		}
		whole += int64(len(line))
	}
	if whole == 0 {
		return false, nil
	}
	if err := j.f.Truncate(whole); err != nil {
		return false, fmt.Errorf("open seed journal: %w", err)
	}
	if _, err := j.f.Seek(whole, 0); err != nil {
		return false, fmt.Errorf("open seed journal: %w", err)
	}
	return true, nil
}

func equalJSON(a []byte, v any) bool {
	b, err := json.Marshal(v)
	return err == nil && bytes.Equal(a, b)
}

// createJournal starts a journal, in place of any other.
func createJournal(path string, seed journalSeed) (*journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("create seed journal: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("create seed journal: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create seed journal: %w", err)
	}
	j := &journal{seed: seed, f: f}
	if err := j.append(seed); err != nil {
		f.Close()
		return nil, err
	}
	return j, nil
}

func (j *journal) append(line any) error {
	b, err := json.Marshal(line)
	if err == nil {
		_, err = j.f.Write(append(b, '\n'))
	}
	if err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		return fmt.Errorf("append to seed journal: %w", err)
	}
	return nil
}

// begin uses up the next part number.
func (j *journal) begin() (uint32, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last++
	return j.last, j.append(journalLine{Begun: j.last})
}

func (j *journal) done(p segment.Part, x *segment.Index) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.append(journalLine{Part: &p, Index: x.Encode()}); err != nil {
		return err
	}
	j.parts = append(j.parts, p)
	j.index = append(j.index, x)
	return nil
}
