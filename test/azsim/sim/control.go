package sim

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// serveControl is for people and demonstrations: what nobody can ask of Azure.
func (s *Sim) serveControl(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/_sim/")
	bad := func(text string) { http.Error(w, text, http.StatusBadRequest) }
	q := r.URL.Query()
	switch {
	case strings.HasPrefix(path, "regions/") && r.Method == http.MethodPost:
		var in struct{ Down bool }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			bad(err.Error())
			return
		}
		s.SetDown(strings.TrimPrefix(path, "regions/"), in.Down)
	case path == "faults" && r.Method == http.MethodPost:
		var f Fault
		err := json.NewDecoder(r.Body).Decode(&f)
		if err == nil {
			err = CheckFault(f)
		}
		if err != nil {
			bad(err.Error())
			return
		}
		s.Fault(f)
	case path == "faults" && r.Method == http.MethodDelete:
		s.NoFaults()
	case path == "expire" && r.Method == http.MethodPost:
		s.ExpireGrants()
	case path == "calls":
		_ = json.NewEncoder(w).Encode(s.Calls()) // who asks may go away
	case path == "resources":
		_ = json.NewEncoder(w).Encode(s.IDs(q.Get("kind"))) // as above
	case path == "disks":
		s.controlDisk(w, r)
	default:
		http.NotFound(w, r)
	}
}

// controlDisk reads and writes a disk as its guest does.
func (s *Sim) controlDisk(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	off, err := strconv.ParseInt(q.Get("offset"), 10, 64)
	b := s.Disk(q.Get("id"))
	if err != nil || b == nil {
		http.Error(w, "give id and offset of a disk", http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodPut {
		data := make([]byte, r.ContentLength)
		if _, err = io.ReadFull(r.Body, data); err == nil {
			_, err = b.WriteAt(data, off)
		}
	} else {
		n, perr := strconv.Atoi(q.Get("length"))
		if perr != nil || n < 0 || n > 64<<20 {
			http.Error(w, "length", http.StatusBadRequest)
			return
		}
		data := make([]byte, n)
		if _, err = b.ReadAt(data, off); err == nil {
			_, _ = w.Write(data) // who asks may go away
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}
