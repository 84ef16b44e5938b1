// Package shop is the application that the demonstration protects: a database that appends numbered, checksummed and
// chained records, acknowledging each one only when it is durable, and a web front that shows the newest. It runs inside
// the guest (cmd/shop); the host uses its client half to learn what was acknowledged and what was recovered.
//
// # Protocol
//
// The database listens on Port. It speaks lines of text that end in a line feed. A new connection gets
//
//	hello shop-db NUMBER            the newest durable record when it connected
//	ack NUMBER SUM                  that record again, then every record that becomes durable, without gaps
//
// and, when the client sends the lines newest or check, in between:
//
//	record NUMBER TIME SUM          the newest durable record; number 0 when there is none
//	check {"records":...}           a Report as JSON, after every record was read back and verified
//
// NUMBER is decimal, SUM is 64 hexadecimal digits, TIME is RFC 3339 in UTC.
package shop

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"time"
)

// Port is the database's TCP port.
const Port = 7000

// RecordSize is the length of a record in bytes. A record is one line of text:
// number (16 digits), time (30), the sum of the record before (64), filler, and the SHA-256 of all that (64).
const RecordSize = 512

const (
	timeLayout = "2006-01-02T15:04:05.000000000Z"
	sumAt      = RecordSize - 1 - 2*sha256.Size
	prevAt     = 16 + 1 + len(timeLayout) + 1
	fillAt     = prevAt + 2*sha256.Size + 1
)

// A Record is one entry of the shop's log. Number counts from 1. Sum covers Prev, so that records form a chain.
type Record struct {
	Number    uint64
	Time      time.Time
	Prev, Sum [sha256.Size]byte
}

// encode lays out the record that follows prev.
func encode(prev Record, now time.Time, random *rand.Rand) ([]byte, Record) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	rec := Record{Number: prev.Number + 1, Time: now.UTC(), Prev: prev.Sum}
	line := make([]byte, 0, RecordSize)
	line = fmt.Appendf(line, "%016d %s %x ", rec.Number, rec.Time.Format(timeLayout), rec.Prev)
	for len(line) < sumAt-1 {
		line = append(line, letters[random.IntN(len(letters))])
	}
	line = append(line, ' ')
	rec.Sum = sha256.Sum256(line)
	line = append(hex.AppendEncode(line, rec.Sum[:]), '\n')
	return line, rec
}

// decode reads a record and verifies its checksum and its place after prev.
func decode(line []byte, prev Record) (Record, error) {
	var rec Record
	if len(line) != RecordSize || line[RecordSize-1] != '\n' {
		return rec, errors.New("not a whole record")
	}
	sum := sha256.Sum256(line[:sumAt])
	if !bytes.Equal(line[sumAt:RecordSize-1], []byte(hex.EncodeToString(sum[:]))) {
		return rec, errors.New("checksum mismatch")
	}
	number, err := strconv.ParseUint(string(line[:16]), 10, 64)
	if err != nil {
		return rec, fmt.Errorf("number: %w", err)
	}
	when, err := time.Parse(timeLayout, string(line[17:17+len(timeLayout)]))
	if err != nil {
		return rec, fmt.Errorf("time: %w", err)
	}
	if number != prev.Number+1 {
		return rec, fmt.Errorf("number %d follows %d", number, prev.Number)
	}
	if string(line[prevAt:fillAt-1]) != hex.EncodeToString(prev.Sum[:]) {
		return rec, errors.New("does not continue the record before it")
	}
	return Record{Number: number, Time: when, Prev: prev.Sum, Sum: sum}, nil
}

// A Report says what a verification of all records found.
type Report struct {
	Records  uint64 `json:"records"`            // good records before the first bad one
	First    uint64 `json:"first"`              // number of the first; 0 when there is none
	Last     uint64 `json:"last"`               // number of the last good one
	LastTime string `json:"lastTime,omitempty"` // when that was written, RFC 3339
	LastSum  string `json:"lastSum,omitempty"`
	FirstBad uint64 `json:"firstBad,omitempty"` // number that the first bad record should have; 0 when all are good
	Why      string `json:"why,omitempty"`
	Torn     int64  `json:"torn,omitempty"`   // bytes of a last record that were cut off when the log was opened
	Fsck     string `json:"fsck,omitempty"`   // what the file-system check at boot found: clean, repaired, errors
	Booted   string `json:"booted,omitempty"` // when the database started, RFC 3339

	Opened    uint64 `json:"opened,omitempty"`    // newest good record when the database started
	OpenedSum string `json:"openedSum,omitempty"` // its checksum
}

// OK reports whether every record and the file system are good.
func (r Report) OK() bool { return r.FirstBad == 0 && (r.Fsck == "" || r.Fsck == "clean") }

// Verify reads the first size bytes of a log and checks each record's checksum and the chain. It returns the last
// good record. A torn end counts as a bad record.
func Verify(r io.ReaderAt, size int64) (Report, Record, error) {
	var rep Report
	var last Record
	buf := make([]byte, 256*RecordSize)
	for off := int64(0); off < size; {
		part := buf[:min(int64(len(buf)), size-off)]
		if _, err := r.ReadAt(part, off); err != nil {
			return rep, last, fmt.Errorf("read records at %d: %w", off, err)
		}
		off += int64(len(part))
		for len(part) > 0 {
			n := min(RecordSize, len(part))
			rec, err := decode(part[:n], last)
			if err != nil {
				rep.FirstBad, rep.Why = last.Number+1, err.Error()
				return rep, last, nil
			}
			part, last = part[n:], rec
			rep.Records, rep.First, rep.Last = rep.Records+1, 1, rec.Number
			rep.LastTime, rep.LastSum = rec.Time.Format(time.RFC3339Nano), hex.EncodeToString(rec.Sum[:])
		}
	}
	return rep, last, nil
}

// A Log is a file of records that one process appends to.
type Log struct {
	file   *os.File
	last   Record
	random *rand.Rand
}

// OpenLog opens or creates a log and verifies it. A bad last record was never acknowledged: it is cut off and reported
// as Torn. Bad records before that are damage: the log is returned with a Report that is not OK, and must not be appended to.
func OpenLog(path string) (*Log, Report, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, Report{}, err
	}
	l := &Log{file: f, random: newSource()}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, Report{}, err
	}
	rep, last, err := Verify(f, st.Size())
	if err != nil {
		f.Close()
		return nil, rep, err
	}
	l.last = last
	good := int64(last.Number) * RecordSize
	if torn := st.Size() - good; rep.FirstBad != 0 && torn <= RecordSize {
		if err := f.Truncate(good); err != nil {
			f.Close()
			return nil, rep, fmt.Errorf("cut torn record off: %w", err)
		}
		rep.FirstBad, rep.Why, rep.Torn = 0, "", torn
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return nil, rep, fmt.Errorf("sync records: %w", err)
	}
	return l, rep, nil
}

func newSource() *rand.Rand { return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) }

// Last returns the newest durable record; its Number is 0 when there is none.
func (l *Log) Last() Record { return l.last }

// Append writes one record and returns when it is durable. After an error the record does not count.
func (l *Log) Append(now time.Time) (Record, error) {
	line, rec := encode(l.last, now, l.random)
	at := int64(l.last.Number) * RecordSize
	if _, err := l.file.WriteAt(line, at); err != nil {
		return Record{}, errors.Join(fmt.Errorf("write record %d: %w", rec.Number, err), l.file.Truncate(at))
	}
	if err := l.file.Sync(); err != nil {
		return Record{}, fmt.Errorf("sync record %d: %w", rec.Number, err)
	}
	l.last = rec
	return rec, nil
}

// sum reads the checksum of a record that is known to be durable.
func (l *Log) sum(number uint64) (string, error) {
	var b [RecordSize - 1 - sumAt]byte
	_, err := l.file.ReadAt(b[:], int64(number-1)*RecordSize+int64(sumAt))
	return string(b[:]), err
}

// Close closes the file.
func (l *Log) Close() error { return l.file.Close() }
