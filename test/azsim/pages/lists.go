package pages

import (
	"encoding/xml"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

func writeXML(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	return xml.NewEncoder(w).Encode(v)
}

func readXML(body []byte, into any) error {
	if err := xml.Unmarshal(body, into); err != nil {
		return fail(http.StatusBadRequest, "InvalidXmlDocument", "%v", err)
	}
	return nil
}

// pairs is a map as XML: an element for each.
type pairs map[string]string

func (p pairs) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(p)) {
		if err := e.EncodeElement(p[k], xml.StartElement{Name: xml.Name{Local: k}}); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

type wireTag struct{ Key, Value string }

type wireTags struct {
	TagSet struct{ Tag []wireTag }
}

func tagsOf(tags map[string]string) *wireTags {
	out := &wireTags{}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out.TagSet.Tag = append(out.TagSet.Tag, wireTag{k, tags[k]})
	}
	return out
}

func (t *wireTags) toMap() map[string]string {
	out := map[string]string{}
	for _, one := range t.TagSet.Tag {
		out[one.Key] = one.Value
	}
	return out
}

// parseTags reads the tags in a header: a=b&c=d.
func parseTags(text string) map[string]string {
	values, err := url.ParseQuery(text)
	out := map[string]string{}
	for k := range values {
		out[k] = values.Get(k)
	}
	if err != nil {
		return nil
	}
	return out
}

type wireItem struct {
	Name          string
	Snapshot      string    `xml:",omitempty"`
	ContainerName string    `xml:",omitempty"`
	Properties    pairs     `xml:",omitempty"`
	Metadata      pairs     `xml:",omitempty"`
	Tags          *wireTags `xml:",omitempty"`
}

type wireList struct {
	XMLName    xml.Name `xml:"EnumerationResults"`
	Prefix     string
	Where      string      `xml:",omitempty"`
	Containers *[]wireItem `xml:"Containers>Container"`
	Blobs      *[]wireItem `xml:"Blobs>Blob"`
	NextMarker string
}

func (c *call) listContainers() error {
	items := []wireItem{}
	for _, name := range slices.Sorted(maps.Keys(c.a.containers)) {
		if have := c.a.containers[name]; strings.HasPrefix(name, c.q.Get("prefix")) {
			items = append(items, wireItem{Name: name, Properties: pairs{"Etag": have.etag, "Last-Modified": have.modified.UTC().Format(http.TimeFormat)}})
		}
	}
	return writeXML(c.w, http.StatusOK, wireList{Prefix: c.q.Get("prefix"), Containers: &items})
}

// maxItems is how many blobs one answer holds.
const maxItems = 5000

func (c *call) listBlobs(in *container) error {
	limit := maxItems
	if v := c.q.Get("maxresults"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return fail(http.StatusBadRequest, "OutOfRangeQueryParameterValue", "maxresults %q", v)
		}
		limit = min(limit, n)
	}
	include := strings.Split(c.q.Get("include"), ",")
	with := func(what string) bool { return slices.Contains(include, what) }
	items, next := []wireItem{}, ""
	add := func(e *entry, st *state, snapshot string) {
		c.settle(st)
		item := wireItem{Name: e.name, Snapshot: snapshot, Properties: pairs{
			"Last-Modified": st.modified.UTC().Format(http.TimeFormat), "Creation-Time": st.created.UTC().Format(http.TimeFormat), "Etag": strings.Trim(st.etag, `"`),
			"Content-Length": strconv.FormatInt(st.content.size, 10), "Content-Type": st.headers["Content-Type"], "BlobType": st.kind, "ServerEncrypted": "true"}}
		if st.kind == kindPage {
			item.Properties["x-ms-blob-sequence-number"] = strconv.FormatInt(st.sequence, 10)
		}
		tier, _ := c.tierOf(st)
		if tier != "" {
			item.Properties["AccessTier"] = tier
		}
		if len(st.tags) > 0 {
			item.Properties["TagCount"] = strconv.Itoa(len(st.tags))
			if with("tags") {
				item.Tags = tagsOf(st.tags)
			}
		}
		if with("metadata") {
			item.Metadata = st.meta
		}
		items = append(items, item)
	}
	for _, name := range slices.Sorted(maps.Keys(in.blobs)) {
		if !strings.HasPrefix(name, c.q.Get("prefix")) || name < c.q.Get("marker") {
			continue
		}
		if len(items) >= limit {
			next = name
			break
		}
		e := in.blobs[name]
		if with("snapshots") {
			for _, at := range slices.Sorted(maps.Keys(e.snapshots)) {
				add(e, e.snapshots[at], at)
			}
		}
		if e.base != nil {
			add(e, e.base, "")
		}
	}
	return writeXML(c.w, http.StatusOK, wireList{Prefix: c.q.Get("prefix"), Blobs: &items, NextMarker: next})
}

// filterBlobs finds blobs by their tags: "a"='b' AND "c"='d'.
func (c *call) filterBlobs() error {
	where := c.q.Get("where")
	terms, ok := parseWhere(where)
	if !ok {
		return fail(http.StatusBadRequest, "InvalidQueryParameterValue", "where %q", where)
	}
	items := []wireItem{}
	for _, in := range slices.Sorted(maps.Keys(c.a.containers)) {
		for _, name := range slices.Sorted(maps.Keys(c.a.containers[in].blobs)) {
			e := c.a.containers[in].blobs[name]
			if e.base == nil || (c.containerName != "" && c.containerName != in) || !matchTags(e.base.tags, terms) {
				continue
			}
			items = append(items, wireItem{Name: name, ContainerName: in, Tags: tagsOf(terms)})
		}
	}
	return writeXML(c.w, http.StatusOK, wireList{Where: where, Blobs: &items})
}

// parseWhere reads a condition on tags that are joined by AND.
func parseWhere(text string) (map[string]string, bool) {
	out := map[string]string{}
	for term := range strings.SplitSeq(strings.ReplaceAll(text, " and ", " AND "), " AND ") {
		name, value, ok := strings.Cut(term, "'")
		value, _, closed := strings.Cut(value, "'")
		name, ok2 := strings.CutSuffix(strings.TrimSpace(name), "=")
		if !ok || !ok2 || !closed {
			return nil, false
		}
		out[strings.Trim(strings.TrimLeft(name, " "), `"`)] = value
	}
	return out, true
}

func matchTags(tags, want map[string]string) bool {
	for k, v := range want {
		if have, ok := tags[k]; !ok || have != v {
			return false
		}
	}
	return true
}
