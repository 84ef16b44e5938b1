package sim

import (
	"net/http"
	"slices"
	"strings"

	"understudy/test/azsim/pages"
)

// put creates or changes a resource.
func (s *Sim) put(r *http.Request, t target, body doc) answer {
	key := strings.ToLower(t.id)
	old := s.resources[key]
	if e := s.locked(t.id); e != nil {
		return answer{err: e}
	}
	if r.Method == http.MethodPatch && old == nil {
		return answer{err: notFound(t.id)}
	}
	if t.kind != "microsoft.resources/resourcegroups" && t.group != "" && s.find(t.group) == nil {
		return answer{err: refusal(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", t.group[strings.LastIndex(t.group, "/")+1:])}
	}
	next := body.clone()
	if r.Method == http.MethodPatch {
		next = old.doc.clone()
		if _, ok := body["tags"]; ok {
			delete(next, "tags") // they are replaced as a whole
		}
		merge(next, body)
	}
	region := next.text("location")
	if old != nil {
		if region != "" && normal(region) != normal(old.region) {
			return answer{err: refusal(http.StatusConflict, "InvalidResourceLocation", "The resource '%s' already exists in location '%s'.", t.name, old.region)}
		}
		region = old.region
	}
	if region == "" {
		region = s.inherit(t)
	}
	if region != "" && normal(region) != "global" && !slices.Contains(s.o.Regions, normal(region)) && t.kind != "microsoft.resources/resourcegroups" {
		return answer{err: refusal(http.StatusBadRequest, "LocationNotAvailableForResourceType", "The provided location '%s' is not available.", region)}
	}
	res := &resource{id: t.id, kind: t.kind, name: t.name, region: region, doc: next, made: s.o.Now()}
	if old != nil {
		res.id, res.made = old.id, old.made
	}
	next["id"], next["name"] = res.id, res.name
	if region != "" {
		next["location"] = region
	}
	status := http.StatusOK
	switch {
	case t.kind == kindDisk || t.kind == kindSnapshot || t.kind == "microsoft.compute/diskaccesses":
		status = http.StatusAccepted
	case old == nil && !plain[t.kind]:
		status = http.StatusCreated
	}
	s.assign(res, old)
	long := false
	var e *armError
	switch t.kind {
	case kindDisk:
		long, e = true, s.putDisk(res, old)
	case kindSnapshot:
		long, e = true, s.putSnapshot(res, old)
	case kindVM:
		long, e = true, s.putVM(res, old)
	case kindExtension:
		long, e = true, s.putExtension(res, old)
	case kindNIC:
		long, e = true, s.putNIC(res, old)
	case kindVNet:
		long, e = true, s.putVNet(res)
	case kindSubnet:
		long, e = true, s.putSubnet(res)
	case kindPublicIP, kindNSG, "microsoft.compute/images", "microsoft.compute/diskaccesses", "microsoft.network/networksecuritygroups/securityrules":
		long = true
	case kindAssociation:
		e = s.putAssociation(res)
	case kindDeployment:
		long, e = true, s.putDeployment(r, res, t.group)
	}
	if e != nil {
		return answer{err: e}
	}
	next.set("properties.provisioningState", "Succeeded")
	s.resources[key] = res
	if !long {
		return answer{status: status, body: s.view(res, false)}
	}
	next.set("properties.provisioningState", map[bool]string{true: "Creating", false: "Updating"}[old == nil])
	op := s.begin(region, func() (any, *armError) {
		if now := s.resources[key]; now == res {
			next.set("properties.provisioningState", "Succeeded")
		}
		return nil, nil
	})
	if t.kind == kindExtension {
		op = s.begin(region, s.install(res))
	}
	return later(status, s.view(res, false), op)
}

// inherit is the region of what a resource belongs to.
func (s *Sim) inherit(t target) string {
	for id := t.id; ; {
		i := strings.LastIndex(id, "/")
		if i <= 0 {
			return ""
		}
		id = id[:i]
		if parent := s.find(id); parent != nil && parent.kind != "microsoft.resources/resourcegroups" {
			return parent.region
		}
	}
}

// assign gives a resource what only the service gives.
func (s *Sim) assign(res, old *resource) {
	d := res.doc
	d["type"] = typeName(res.id)
	if old != nil {
		if v, ok := old.doc["identity"]; ok && d["identity"] == nil {
			d["identity"] = v
		}
	}
	if strings.Contains(d.text("identity.type"), "SystemAssigned") && d.text("identity.principalId") == "" {
		d.set("identity.principalId", s.newID())
		d.set("identity.tenantId", TenantID)
	}
	d["etag"] = s.newID()
	if strings.HasPrefix(res.kind, "microsoft.insights/") {
		s.monitored(res, old)
	}
}

// typeName is the type of a resource as Azure writes it, from its ID.
func typeName(id string) string {
	_, rest, ok := strings.Cut(id, "/providers/")
	if !ok {
		return "Microsoft.Resources/resourceGroups"
	}
	if i := strings.LastIndex(rest, "/providers/"); i >= 0 {
		rest = rest[i+len("/providers/"):]
	}
	parts := strings.Split(rest, "/")
	out := parts[0]
	for i := 1; i < len(parts); i += 2 {
		out += "/" + parts[i]
	}
	return out
}

// locked refuses changes to what a lock protects, other than to locks.
func (s *Sim) locked(id string) *armError {
	low := strings.ToLower(id)
	for key, res := range s.resources {
		scope, _, ok := strings.Cut(key, "/providers/microsoft.authorization/locks/")
		if ok && res.doc.text("properties.level") == "ReadOnly" && (low == scope || strings.HasPrefix(low, scope+"/")) && !strings.Contains(low, "/providers/microsoft.authorization/") {
			return refusal(http.StatusConflict, "ScopeLocked", "The scope '%s' cannot perform write operation because following scope(s) are locked: '%s'. Please remove the lock and try again.", id, scope)
		}
	}
	return nil
}

// plain are kinds whose creation is answered as a change is.
var plain = map[string]bool{kindAvailabilitySet: true, "microsoft.insights/logprofiles": true, "microsoft.insights/metricalerts": true}

// atOnce are kinds whose deletion is no long operation.
var atOnce = map[string]bool{kindAvailabilitySet: true, "microsoft.compute/proximityplacementgroups": true, "microsoft.compute/sshpublickeys": true}

// delete removes a resource and what is below it.
func (s *Sim) delete(t target) answer {
	res := s.find(t.id)
	if res == nil {
		s.ghost(t)
		return answer{status: http.StatusNoContent}
	}
	if e := s.locked(t.id); e != nil {
		return answer{err: e}
	}
	key := strings.ToLower(t.id)
	var e *armError
	switch t.kind {
	case kindDisk:
		e = s.deletable(res)
	case kindSnapshot:
		if s.disks[key] != nil && s.disks[key].Granted() {
			e = refusal(http.StatusConflict, "OperationNotAllowed", "Snapshot '%s' has an active shared access signature outstanding. End access before deleting it.", res.name)
		}
	case kindNIC:
		if vm := res.doc.text("properties.virtualMachine.id"); vm != "" {
			e = refusal(http.StatusBadRequest, "NicInUse", "Network Interface %s is used by existing resource %s.", res.id, vm)
		}
	case kindExtension:
		e = s.running(res.id, "modify extensions in the VM")
	}
	if e != nil {
		return answer{err: e}
	}
	if atOnce[t.kind] || strings.HasPrefix(t.kind, "microsoft.authorization/") || strings.HasPrefix(t.kind, "microsoft.insights/") && t.kind != "microsoft.insights/privatelinkscopes" {
		delete(s.resources, key)
		return answer{status: http.StatusOK, body: s.view(res, false)}
	}
	res.doc.set("properties.provisioningState", "Deleting")
	return later(http.StatusAccepted, nil, s.begin(res.region, func() (any, *armError) {
		s.remove(key)
		return nil, nil
	}))
}

// remove takes a resource away, with what is below it.
func (s *Sim) remove(key string) {
	res := s.resources[key]
	if res == nil {
		return
	}
	switch res.kind {
	case kindVM:
		s.release(res)
	case kindExtension:
		s.uninstall(res)
	}
	for k := range s.resources {
		if k != key && !strings.HasPrefix(k, key+"/") {
			continue
		}
		if b := s.disks[k]; b != nil {
			s.pages.Remove(b)
			delete(s.disks, k)
		}
		delete(s.resources, k)
		delete(s.guests, k)
		delete(s.copies, k)
	}
}

// view is a resource as it is shown.
func (s *Sim) view(res *resource, expand bool) doc {
	switch res.kind {
	case kindSnapshot:
		s.advance(res)
		res.doc.set("properties.diskState", s.diskState(res))
	case kindVM:
		return s.viewVM(res, expand)
	case kindDisk:
		res.doc.set("properties.diskState", s.diskState(res))
	case kindVNet:
		subnets := []any{}
		for _, k := range sortedKeys(s.resources) {
			if c := s.resources[k]; c.kind == kindSubnet && strings.HasPrefix(k, strings.ToLower(res.id)+"/") {
				subnets = append(subnets, c.doc.clone())
			}
		}
		res.doc.set("properties.subnets", subnets)
	}
	return res.doc.clone()
}

// act does what a POST asks for.
func (s *Sim) act(r *http.Request, t target, body doc) answer {
	res := s.find(t.id)
	if t.kind == "microsoft.resources/subscriptions" || t.kind == "microsoft.resources/resourcegroups" {
		return answer{err: refusal(http.StatusNotFound, "NotFound", "There is no action %s.", t.action)}
	}
	if res == nil {
		return answer{err: notFound(t.id)}
	}
	if r.Method == http.MethodPost && t.action != "begingetaccess" {
		if e := s.locked(t.id); e != nil {
			return answer{err: e}
		}
	}
	switch {
	case t.action == "begingetaccess":
		return s.grantAccess(res, body)
	case t.action == "endgetaccess":
		return s.endAccess(res)
	case t.action == "apply" && res.kind == "microsoft.update.admin/updatelocations/updates":
		// As the real one does: the run that it names is not there yet, and whoever looks at once is told so.
		return answer{status: http.StatusAccepted, at: res.id + "/updateRuns/" + s.newID()}
	case t.action == "ddosprotectionstatus":
		return later(http.StatusAccepted, nil, s.begin(res.region, func() (any, *armError) { return doc{"value": []any{}}, nil }))
	case t.action == "generatekeypair":
		res.doc.set("properties.publicKey", "ssh-rsa "+s.newID())
		return answer{status: http.StatusOK, body: doc{"id": res.id, "publicKey": res.doc.text("properties.publicKey"), "privateKey": s.newID()}}
	case res.kind == kindVM:
		return s.actVM(r, res, t.action, body)
	}
	return answer{err: refusal(http.StatusNotFound, "NotFound", "There is no action %s of %s.", t.action, t.kind)}
}

// blobOf returns the content of a disk or snapshot.
func (s *Sim) blobOf(id string) *pages.Blob { return s.disks[strings.ToLower(id)] }
