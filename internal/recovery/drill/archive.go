package drill

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"understudy/internal/dr"
)

// An Archive keeps the evidence of drills: a folder per run below Dir. A file is there whole or not at all.
type Archive struct{ Dir string }

// Limits of one piece of evidence, in bytes.
const (
	MaxConsole = 64 << 10
	MaxScreen  = 16 << 20
)

const samplesFile = "lag.jsonl"

var (
	runName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]*$`)
	fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	odd      = regexp.MustCompile(`[^A-Za-z0-9._-]+`)
)

// FileOf names the file of a piece of evidence. Machines may have names that are none for a file, so place, that of the
// machine in its group, makes it unique.
func FileOf(place int, machine string, kind ItemKind) string {
	ext := ".txt"
	if kind == Screen {
		ext = ".png"
	}
	return fmt.Sprintf("%02d-%s-%s%s", place+1, odd.ReplaceAllString(machine, "_"), kind, ext)
}

func (a Archive) path(run, file string) (string, error) {
	if !runName.MatchString(run) || !fileName.MatchString(file) || a.Dir == "" {
		return "", dr.WithHint(fmt.Errorf("run %s has no evidence %q", run, file), dr.KindNotFound, "understudy run report "+run)
	}
	return filepath.Join(a.Dir, run, file), nil
}

// Put keeps a file, in place of the one of that name, and completes the item with its size and digest.
func (a Archive) Put(run string, item Item, data []byte) (Item, error) {
	path, err := a.path(run, item.File)
	if err != nil {
		return item, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return item, fmt.Errorf("keep evidence: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return item, fmt.Errorf("keep evidence: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return item, fmt.Errorf("keep evidence: %w", errors.Join(err, os.Remove(f.Name())))
	}
	sum := sha256.Sum256(data)
	item.Size, item.SHA256 = int64(len(data)), hex.EncodeToString(sum[:])
	return item, nil
}

// Get returns a file of a run; dr.KindNotFound when there is none.
func (a Archive) Get(run, file string) ([]byte, error) {
	path, err := a.path(run, file)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, dr.WithHint(fmt.Errorf("run %s has no evidence %q, or it is no longer kept", run, file), dr.KindNotFound, "understudy run report "+run)
	}
	return data, err
}

// Load returns items with their data. One whose file is gone, or not what was put, says so.
func (a Archive) Load(run string, items []Item) []Item {
	items = slices.Clone(items)
	for i, it := range items {
		if it.File == "" {
			continue
		}
		data, err := a.Get(run, it.File)
		sum := sha256.Sum256(data)
		switch {
		case dr.KindOf(err) == dr.KindNotFound:
			items[i].Missing = "no longer kept"
		case err != nil:
			items[i].Missing = err.Error()
		case hex.EncodeToString(sum[:]) != it.SHA256:
			items[i].Missing = "the file was changed since the drill: its digest differs"
		default:
			items[i].Data = data
		}
	}
	sortItems(items)
	return items
}

// Note adds a sample of replication to those of a run.
func (a Archive) Note(run string, s Sample) error {
	path, err := a.path(run, samplesFile)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n')) // one write, so that a crash tears at most the last line
	return errors.Join(err, f.Close())
}

// Samples returns what was noted of a run. Lines that a crash tore are passed over.
func (a Archive) Samples(run string) ([]Sample, error) {
	path, err := a.path(run, samplesFile)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []Sample
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var s Sample
		if json.Unmarshal(lines.Bytes(), &s) == nil && !s.Time.IsZero() {
			list = append(list, s)
		}
	}
	slices.SortStableFunc(list, func(a, b Sample) int { return a.Time.Compare(b.Time) })
	return list, nil
}

// Runs lists the runs that have a folder.
func (a Archive) Runs() ([]string, error) {
	entries, err := os.ReadDir(a.Dir)
	if errors.Is(err, fs.ErrNotExist) || a.Dir == "" {
		return nil, nil
	}
	var list []string
	for _, e := range entries {
		if e.IsDir() && runName.MatchString(e.Name()) && !strings.HasPrefix(e.Name(), ".") {
			list = append(list, e.Name())
		}
	}
	return list, err
}

// Remove removes what is kept of a run.
func (a Archive) Remove(run string) error {
	if !runName.MatchString(run) || a.Dir == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(a.Dir, run))
}
