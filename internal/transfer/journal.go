package transfer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/zeebo/blake3"
)

// A journal is an append-only file: a head that says what it is about, then records of a chunk's digest, or of a chunk
// that is about to be written over. All numbers are little-endian, each part ends in its CRC-32C. What follows the first
// damaged record is from a write that the end of the machine cut short.
//
//	head:   magic 16, version 4, flags 4, identity 32, crc 4
//	record: index 8, kind 4, digest 32, crc 4
const (
	journalMagic   = "understudy copy\n"
	journalVersion = 1
	headSize       = 60
	recordSize     = 48

	flagHeld = 1 // the target held something when the journal was begun

	recordDone    = 1
	recordUnknown = 2

	checkpointChunks = 64
	checkpointEvery  = 2 * time.Second
)

// A journal's methods may be called from many goroutines at once.
type journal struct {
	resumed bool // there was one of the same identity
	held    bool // there was another one before, so that the target holds what that copy wrote

	mu      sync.Mutex
	f       *os.File
	chunks  map[int64]Digest
	pending []record // on the target, but not known to be on its stable storage
	last    time.Time

	queue []byte // records to be written

	writing sync.Mutex // held for writing; guards broken
	broken  error      // what a write failed with: nothing is believed to be written after it
}

type record struct {
	index  int64
	kind   uint32
	digest Digest
}

// identity is a digest of what must be the same for a journal to be of use.
func identity(j Job) Digest {
	h := blake3.New()
	fmt.Fprintf(h, "%d %d %q\n", j.Source.Size(), j.Target.Size(), j.Label)
	for _, e := range j.Ranges {
		fmt.Fprintf(h, "%d %d\n", e.Offset, e.Length)
	}
	var d Digest
	h.Sum(d[:0])
	return d
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func seal(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)) }

func sealed(b []byte) bool {
	n := len(b) - 4
	return binary.LittleEndian.Uint32(b[n:]) == crc32.Checksum(b[:n], castagnoli)
}

func head(id Digest, flags uint32) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(journalMagic), journalVersion)
	b = binary.LittleEndian.AppendUint32(b, flags)
	return seal(append(b, id[:]...))
}

func (r record) encode(b []byte) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.index))
	b = binary.LittleEndian.AppendUint32(b, r.kind)
	b = append(b, r.digest[:]...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

// openJournal reads a journal, or begins one when there is none for the same thing.
func openJournal(name string, id Digest) (*journal, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{f: f, chunks: map[int64]Digest{}, last: time.Now()}
	if err := j.load(id); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

func (j *journal) load(id Digest) error {
	data, err := io.ReadAll(j.f)
	if err != nil {
		return err
	}
	var have string
	if len(data) >= headSize {
		have = string(data[:headSize])
	}
	switch have {
	case string(head(id, 0)):
	case string(head(id, flagHeld)):
		j.held = true
	case "":
		// The beginning of a head is one that was being written, before anything was copied.
		return j.begin(head(id, 0))
	default:
		j.held = true
		return j.begin(head(id, flagHeld))
	}
	j.resumed = true
	end := headSize
	for ; end+recordSize <= len(data); end += recordSize {
		r := data[end : end+recordSize]
		if !sealed(r) {
			break
		}
		index := int64(binary.LittleEndian.Uint64(r))
		if binary.LittleEndian.Uint32(r[8:]) == recordDone {
			j.chunks[index] = Digest(r[12:44])
		} else {
			delete(j.chunks, index)
		}
	}
	if err := j.f.Truncate(int64(end)); err != nil {
		return err
	}
	_, err = j.f.Seek(int64(end), io.SeekStart)
	return err
}

// begin writes a head. It is on stable storage, with the file's name, before the target is written.
func (j *journal) begin(head []byte) error {
	// Over an old head, not after emptying the file: that something was there must not be forgotten.
	if _, err := j.f.WriteAt(head, 0); err != nil {
		return err
	}
	if err := j.f.Truncate(headSize); err != nil {
		return err
	}
	if err := j.f.Sync(); err != nil {
		return err
	}
	if _, err := j.f.Seek(headSize, io.SeekStart); err != nil {
		return err
	}
	return syncDir(filepath.Dir(j.f.Name()))
}

func (j *journal) digest(index int64) (Digest, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	d, ok := j.chunks[index]
	return d, ok
}

// add notes a chunk that was written, and reports whether it is time for a checkpoint.
func (j *journal) add(index int64, d Digest) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = append(j.pending, record{index, recordDone, d})
	return len(j.pending) >= checkpointChunks || time.Since(j.last) > checkpointEvery
}

// unknown records that a chunk is about to be written over, and returns when that is on stable storage.
func (j *journal) unknown(index int64) error {
	j.mu.Lock()
	delete(j.chunks, index)
	j.mu.Unlock()
	return j.append([]record{{index: index, kind: recordUnknown}})
}

// checkpoint records what was added, after flush put it on the target's stable storage.
func (j *journal) checkpoint(flush func() error) error {
	j.mu.Lock()
	records := j.pending
	j.pending, j.last = nil, time.Now()
	j.mu.Unlock()
	if err := flush(); err != nil {
		return err
	}
	if len(records) == 0 {
		return nil
	}
	return j.append(records)
}

// append returns when the records are on stable storage. Those of several callers go there together.
func (j *journal) append(records []record) error {
	j.mu.Lock()
	for _, r := range records {
		j.queue = r.encode(j.queue)
	}
	j.mu.Unlock()
	j.writing.Lock()
	defer j.writing.Unlock()
	j.mu.Lock()
	b := j.queue
	j.queue = nil
	j.mu.Unlock()
	if len(b) == 0 || j.broken != nil { // written by another caller
		return j.broken
	}
	if _, j.broken = j.f.Write(b); j.broken == nil {
		j.broken = j.f.Sync()
	}
	return j.broken
}

func (j *journal) close() error { return j.f.Close() }
