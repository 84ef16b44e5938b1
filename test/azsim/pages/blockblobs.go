package pages

import (
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"strconv"
)

// A block is a piece of a block blob.
type block struct {
	id   string
	data []byte
}

// stage answers Put Block and Put Block From URL.
func (c *call) stage(in *container, e *entry) error {
	id := c.q.Get("blockid")
	if raw, err := base64.StdEncoding.DecodeString(id); err != nil || len(raw) == 0 || len(raw) > 64 {
		return fail(http.StatusBadRequest, "InvalidQueryParameterValue", "blockid %q", id)
	}
	if e != nil && e.base != nil {
		if !c.who.may("w") {
			return fail(http.StatusForbidden, "UnauthorizedBlobOverwrite", "The signature allows to create, not to overwrite.")
		}
		if err := e.base.lease.allows(c.r, c.now, "Blob"); err != nil {
			return err
		}
	}
	data, md5Header, crcHeader := c.body, "Content-MD5", "x-ms-content-crc64"
	if from := c.r.Header.Get("x-ms-copy-source"); from != "" {
		other, _, err := c.source(from)
		if err == nil {
			err = c.conditions(other, "x-ms-source-")
		}
		if err == nil {
			data, err = readSpan(other.content, c.r.Header.Get("x-ms-source-range"), -1)
		}
		if err != nil {
			return err
		}
		md5Header, crcHeader = "x-ms-source-content-md5", "x-ms-source-content-crc64"
	}
	if err := c.checked(data, md5Header, crcHeader); err != nil {
		return err
	}
	if e == nil {
		e = &entry{name: c.blobName, snapshots: map[string]*state{}}
		in.blobs[c.blobName] = e
	}
	if e.staged == nil {
		e.staged = map[string][]byte{}
	}
	e.staged[id] = data
	c.w.Header().Set("x-ms-request-server-encrypted", "true")
	_ = c.keyed(c.fresh(kindBlock, nil, nil), false) // shows what was given
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

// commit answers Put Block List.
func (c *call) commit(in *container, e *entry) error {
	var list struct {
		Blocks []struct {
			XMLName xml.Name
			ID      string `xml:",chardata"`
		} `xml:",any"`
	}
	if err := readXML(c.body, &list); err != nil {
		return err
	}
	if err := c.checked(c.body, "Content-MD5", "x-ms-content-crc64"); err != nil {
		return err
	}
	old, err := c.writable(e)
	if err != nil {
		return err
	}
	committed := map[string][]byte{}
	if old != nil {
		for _, b := range old.blocks {
			committed[b.id] = b.data
		}
	}
	st := c.fresh(kindBlock, newContent(0), old)
	for _, one := range list.Blocks {
		var data []byte
		ok := false
		if one.XMLName.Local != "Committed" && e != nil {
			data, ok = e.staged[one.ID]
		}
		if !ok && one.XMLName.Local != "Uncommitted" {
			data, ok = committed[one.ID]
		}
		if !ok {
			return fail(http.StatusBadRequest, "InvalidBlockList", "The specified block list is invalid.")
		}
		st.blocks = append(st.blocks, block{one.ID, data})
		at := st.content.size
		st.content.size += int64(len(data))
		st.content.writeAt(data, at)
	}
	c.place(in, e, st)
	if err := c.keyed(st, false); err != nil {
		return err
	}
	return c.changed(st, http.StatusCreated)
}

func (c *call) listBlocks(e *entry, st *state) error {
	type wireBlock struct {
		Name string
		Size int
	}
	out := struct {
		XMLName     struct{}    `xml:"BlockList"`
		Committed   []wireBlock `xml:"CommittedBlocks>Block"`
		Uncommitted []wireBlock `xml:"UncommittedBlocks>Block"`
	}{}
	if e == nil {
		return fail(http.StatusNotFound, "BlobNotFound", "the blob %s does not exist", c.blobName)
	}
	which := c.q.Get("blocklisttype")
	if st != nil {
		if err := c.conditions(st, ""); err != nil {
			return err
		}
		c.w.Header().Set("ETag", st.etag)
		c.w.Header().Set("Last-Modified", st.modified.UTC().Format(http.TimeFormat))
		c.w.Header().Set("x-ms-blob-content-length", strconv.FormatInt(st.content.size, 10))
		for _, b := range st.blocks {
			if which != "uncommitted" {
				out.Committed = append(out.Committed, wireBlock{b.id, len(b.data)})
			}
		}
	}
	for id, data := range e.staged {
		if which == "uncommitted" || which == "all" {
			out.Uncommitted = append(out.Uncommitted, wireBlock{id, len(data)})
		}
	}
	return writeXML(c.w, http.StatusOK, out)
}
