package access

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Results of what was asked for, in the audit log.
const (
	ResultBegun   = "begun"   // it was allowed and begun; another entry tells its end, unless the controller died
	ResultDone    = "done"    // an accepted run has an end of its own
	ResultRefused = "refused" // it was not allowed, not valid, or against the state of things
	ResultWaits   = "waits"   // another person has to approve it
	ResultFailed  = "failed"
	ResultGap     = "gap" // entries are missing before this one
)

// An Entry of the audit log says who asked for what and what became of it.
type Entry struct {
	Sequence int64     `json:"sequence"` // 1, 2, 3, ...
	Time     time.Time `json:"time"`
	Actor    string    `json:"actor"`
	Person   string    `json:"person,omitempty"` // when it is not the actor
	Method   string    `json:"method,omitempty"` // how the actor was recognised; empty: was not
	Address  string    `json:"address,omitempty"`
	// Operation is the operation of the API; Verb is what it needs.
	Operation string `json:"operation"`
	Verb      Verb   `json:"verb,omitempty"`
	Object    string `json:"object,omitempty"` // such as group:shop
	Digest    string `json:"digest,omitempty"` // of the request: SHA-256 of its method, path, query and body
	Of        int64  `json:"of,omitempty"`     // the entry that tells the beginning of this
	Result    string `json:"result"`
	Status    int    `json:"status,omitempty"` // of HTTP
	Run       string `json:"run,omitempty"`
	Approval  string `json:"approval,omitempty"` // by which it was allowed
	Detail    string `json:"detail,omitempty"`
	Previous  string `json:"previous"` // hash of the entry before; of the first: empty
}

// A Link is an entry as it is kept: its text, which is the JSON of an Entry, and the SHA-256 of that. Each text holds the
// hash of the one before, so that none can be changed, removed or put in between without changing all later hashes.
type Link struct {
	Text string
	Hash string
}

// Append makes the link of an entry that follows a log's last sequence and hash.
func Append(e Entry, sequence int64, hash string) (Entry, Link, error) {
	e.Sequence, e.Previous = sequence+1, hash
	text, err := json.Marshal(e)
	if err != nil {
		return e, Link{}, fmt.Errorf("write audit log: %w", err)
	}
	return e, Link{Text: string(text), Hash: hashOf(string(text))}, nil
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// A Head is the end of a log at some time, kept where whoever changes the log cannot change it.
type Head struct {
	Sequence int64
	Hash     string
}

// String is the head as ParseHead reads it.
func (h Head) String() string { return fmt.Sprintf("%d:%s", h.Sequence, h.Hash) }

// ParseHead reads a head: SEQUENCE:HASH.
func ParseHead(s string) (h Head, err error) {
	if n, err := fmt.Sscanf(s, "%d:%s", &h.Sequence, &h.Hash); n != 2 || err != nil || h.Sequence < 1 || len(h.Hash) != 64 {
		return Head{}, fmt.Errorf("%q is no head of an audit log", s)
	}
	return h, nil
}

// A Verifier reads a log from its beginning and finds what was done to it. Its zero value is ready.
type Verifier struct {
	Heads    []Head   // that the log must contain, from other places
	Findings []string // the first 100
	Last     Head
	found    int
}

const maxFindings = 100

func (v *Verifier) find(format string, args ...any) {
	if v.found++; v.found <= maxFindings {
		v.Findings = append(v.Findings, fmt.Sprintf(format, args...))
	}
}

// Next reads the next link.
func (v *Verifier) Next(sequence int64, l Link) {
	var e Entry
	if err := json.Unmarshal([]byte(l.Text), &e); err != nil {
		v.find("entry %d cannot be read", sequence)
	} else if e.Sequence != sequence {
		v.find("entry %d says that it is entry %d", sequence, e.Sequence)
	}
	switch {
	case sequence == v.Last.Sequence+2:
		v.find("entry %d is missing", v.Last.Sequence+1)
	case sequence > v.Last.Sequence+1:
		v.find("entries %d to %d are missing", v.Last.Sequence+1, sequence-1)
	case e.Previous != v.Last.Hash:
		v.find("entry %d does not follow the one before: one of them was changed", sequence)
	}
	if hashOf(l.Text) != l.Hash {
		v.find("entry %d was changed", sequence)
	}
	if e.Result == ResultGap {
		v.find("entry %d: %s", sequence, e.Detail)
	}
	for _, h := range v.Heads {
		if h.Sequence == sequence && h.Hash != l.Hash {
			v.find("entry %d is not the one that was noted: it was changed, or all since an earlier one were written anew", sequence)
		}
	}
	v.Last = Head{sequence, l.Hash}
}

// End looks at what is missing at the end.
func (v *Verifier) End() {
	for _, h := range v.Heads {
		if h.Sequence > v.Last.Sequence {
			v.find("the log ends at entry %d, and was noted to have entry %d: the end was removed", v.Last.Sequence, h.Sequence)
		}
	}
	if more := v.found - len(v.Findings); more > 0 {
		v.Findings = append(v.Findings, fmt.Sprintf("and %d more", more))
	}
}

// Intact reports whether nothing was found.
func (v *Verifier) Intact() bool { return v.found == 0 }
