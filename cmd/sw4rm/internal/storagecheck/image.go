package storagecheck

import (
	"errors"
	"slices"
)

// Cut is when a fault came: what is before Before had happened, and what is from After on had not begun.
type Cut struct {
	Before int `json:"before"`
	After  int `json:"after"`
}

// Found tells what an image shows, for those who count.
type Found struct {
	// Cut tells that the fault came while calls were under way, Behind that something which was not vouched for is
	// missing, and Vouched counts the objects that had to be there as they were.
	Cut, Behind bool
	Vouched     int
}

// Check checks what a directory holds after a fault: every violation, joined.
func (r *Run) Check(cut Cut, d Dump) (Found, error) {
	var found Found
	errs := make([]error, 0, len(d.Problems))
	for _, p := range d.Problems {
		errs = append(errs, broken(Sound, "", "%s", p))
	}
	places := map[string]place{}
	for object, chain := range r.chains {
		p, err := r.place(object, chain, cut, d.Objects[object])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		places[object] = p
		found.Behind = found.Behind || p.first < p.last
		if p.least > 0 {
			found.Vouched++
		}
	}
	errs = append(errs, r.inOrder(places)...)
	for object := range d.Objects {
		if _, known := r.chains[object]; !known && !r.maybe(object, cut) {
			errs = append(errs, broken(Known, object, "nobody has written it"))
		}
	}
	for _, p := range d.Probes {
		if want := d.Objects[p.Object].Answer; p.Answer != want {
			errs = append(errs, broken(Recognised, p.Object, "who asks again is told %q, not %q", p.Answer, want))
		}
	}
	for _, g := range d.Given {
		if at, taken := r.given[Given{Space: g.Space, Number: g.Number}]; taken && at < cut.Before {
			errs = append(errs, broken(OnceGiven, g.To, "%s %d was given before the fault", g.Space, g.Number))
		}
	}
	for _, t := range d.Totals {
		if t.Told != t.Is {
			errs = append(errs, broken(Totals, "", "%s: told %d, counted %d", t.Name, t.Told, t.Is))
		}
	}
	found.Cut = r.underWay[min(cut.Before, len(r.events))] > 0
	return found, errors.Join(errs...)
}

// place is where an object's state lies in its history.
type place struct {
	// least is the version that it must have reached; first and fits are the first and last that look like it from there
	// on; last is the last that it can have reached.
	least, first, fits, last int
	chain                    []version
	// free tells that a call with an unknown result may have made anything of it that follows.
	free bool
}

func (r *Run) place(object string, chain []version, cut Cut, shown State) (place, error) {
	p := place{chain: chain, first: -1}
	settled := r.settled[min(cut.Before, len(r.events))]
	for i, v := range chain {
		if v.ended < settled || v.durable && v.ended < cut.Before {
			p.least = i
		}
		if v.began < cut.After {
			p.last = i
		}
	}
	print := shown.print()
	for i := p.least; i <= p.last; i++ {
		if chain[i].print == print {
			if p.first < 0 {
				p.first = i
			}
			p.fits = i
		}
	}
	if p.first >= 0 {
		return p, nil
	}
	if r.maybe(object, cut) && follows(object, chain[p.last].state, shown, true) == nil {
		p.first, p.fits, p.free = p.last, p.last, true
		return p, nil
	}
	if at := slices.IndexFunc(chain, func(v version) bool { return v.print == print }); at >= 0 && at < p.least {
		return p, broken(Durable, object, "it is as it was before event %d: %s\n\tand was vouched for by event %d: %s",
			chain[at+1].ended, short(print), chain[p.least].ended, short(chain[p.least].print))
	} else if at >= 0 {
		return p, broken(Known, object, "it is as it was from event %d on, which had not begun: %s", chain[at].began, short(print))
	}
	promise := Known
	if shown.gone() {
		promise = Durable
	}
	return p, broken(promise, object, "it never was like this: %s\n\tvouched for: %s\n\tlast: %s", short(print), short(chain[p.least].print), short(chain[p.last].print))
}

// maybe tells whether a call with an unknown result may have changed the object.
func (r *Run) maybe(object string, cut Cut) bool {
	began, open := r.open[object]
	return open && began < cut.After
}

// inOrder checks that no object shows a call that began after a version which another one lacks.
func (r *Run) inOrder(places map[string]place) (errs []error) {
	latest, by := -1, ""
	for object, p := range places {
		if began := p.chain[p.first].began; began > latest {
			latest, by = began, object
		}
	}
	for object, p := range places {
		if p.free || p.fits+1 >= len(p.chain) {
			continue
		}
		if missing := p.chain[p.fits+1]; missing.ended < latest {
			errs = append(errs, broken(InOrder, object, "event %d is missing: %s\n\tand %s shows the later call %d",
				missing.ended, short(missing.print), by, latest))
		}
	}
	return errs
}

// mostPrinted bounds a state in a report, in bytes.
const mostPrinted = 500

func short(print string) string {
	if len(print) <= mostPrinted {
		return print
	}
	return print[:mostPrinted/2] + " … " + print[len(print)-mostPrinted/2:]
}

// Same returns an error for each object that two dumps show differently.
func Same(was, is Dump) error {
	var errs []error
	for object, state := range was.Objects {
		if before, after := state.print(), is.Objects[object].print(); before != after {
			errs = append(errs, broken(Durable, object, "it was read as %s\n\tand is now %s", short(before), short(after)))
		}
	}
	for object := range is.Objects {
		if _, known := was.Objects[object]; !known {
			errs = append(errs, broken(Known, object, "it was not there when it was read before"))
		}
	}
	return errors.Join(errs...)
}
