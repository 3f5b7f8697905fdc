// Makes tcf.json: golden strings by the IAB's own encoders, and bad ones named for what is bad in them.
// See README.md beside this file. The vendor list is made up here: strings depend on nothing outside.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import * as europe from '@iabtcf/core';
import * as techlab from '@iabtechlabtcf/core';

const require = createRequire(import.meta.url);
const version = (name) => JSON.parse(readFileSync(require.resolve(name).replace(/lib\/.*/, 'package.json'))).version;
const VENDORS = 1000;
let state = 20261127;
const random = () => ((state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 8) / 2 ** 24;
const some = (most, share) => Array.from({ length: most }, (_, i) => i + 1).filter(() => random() < share);
const span = (first, last) => Array.from({ length: last - first + 1 }, (_, i) => first + i);

function gvl({ GVL }, policy) {
  GVL.prototype.changeLanguage = async () => {}; // would fetch texts, which no string holds
  const named = (ids) => Object.fromEntries(ids.map((id) => [id, { id, name: `n${id}`, description: '', illustrations: [] }]));
  const vendor = (id) => ({
    id, name: `Vendor ${id}`, purposes: [1, 2, 3, 4, 5, 6], legIntPurposes: [7, 8, 9, 10, 11],
    flexiblePurposes: [2, 7, 8, 9, 10, 11], specialPurposes: [1, 2], features: [1], specialFeatures: [1, 2],
  });
  const list = {
    gvlSpecificationVersion: 3, vendorListVersion: 177, tcfPolicyVersion: policy, lastUpdated: '2026-11-20T16:00:00Z',
    purposes: named(span(1, 11)), specialPurposes: named([1, 2, 3]), features: named([1, 2, 3]),
    specialFeatures: named([1, 2]), stacks: {}, dataCategories: {}, vendors: Object.fromEntries(span(1, VENDORS).map((id) => [id, vendor(id)])),
  };
  return new GVL(list);
}

function golden(name, from, lib, set, { policy = 5, segments = ['core', 'vendorsDisclosed', 'publisherTC'], language } = {}) {
  const list = gvl(lib, policy);
  if (language) list.lang_ = language;
  const model = new lib.TCModel(list);
  Object.assign(model, { cmpId: 300, cmpVersion: 7, consentScreen: 2, publisherCountryCode: 'FR', isServiceSpecific: true });
  model.created = model.lastUpdated = new Date('2026-11-20T00:00:00Z');
  set(model);
  const text = lib.TCString.encode(model, { segments });
  return { name, from, text, fields: fields(lib.TCString.decode(text), segments) };
}

function fields(m, segments) {
  const ids = (vector) => [...vector].filter(([, on]) => on).map(([id]) => id);
  const seconds = (date) => Math.floor(date.getTime() / 1000);
  return {
    created: seconds(m.created), updated: seconds(m.lastUpdated), cmp_id: m.cmpId, cmp_version: m.cmpVersion,
    consent_screen: m.consentScreen, language: m.consentLanguage, vendor_list_version: m.vendorListVersion,
    policy_version: m.policyVersion, non_standard_texts: m.useNonStandardTexts ?? m.useNonStandardStacks,
    special_features: ids(m.specialFeatureOptins), purposes_consent: ids(m.purposeConsents),
    purposes_li: ids(m.purposeLegitimateInterests), purpose_one_treatment: m.purposeOneTreatment,
    publisher_country: m.publisherCountryCode, vendors_consent: ids(m.vendorConsents),
    vendors_li: ids(m.vendorLegitimateInterests),
    restrictions: m.publisherRestrictions.getRestrictions().map((one) => ({
      purpose: one.purposeId, kind: one.restrictionType, vendors: m.publisherRestrictions.getVendors(one),
    })),
    disclosed: segments.includes('vendorsDisclosed') ? ids(m.vendorsDisclosed) : null,
    publisher: segments.includes('publisherTC') ? {
      purposes_consent: ids(m.publisherConsents), purposes_li: ids(m.publisherLegitimateInterests),
      custom_consent: ids(m.publisherCustomConsents), custom_li: ids(m.publisherCustomLegitimateInterests),
    } : null,
  };
}

const restrict = ({ PurposeRestriction }, m, purpose, kind, vendors) =>
  vendors.forEach((id) => m.publisherRestrictions.add(id, new PurposeRestriction(purpose, kind)));
const everything = (m) => {
  m.purposeConsents.set(span(1, 11));
  m.purposeLegitimateInterests.set([2, 7, 8, 9, 10, 11]);
  m.specialFeatureOptins.set([1, 2]);
};
const cases = [];
for (const [from, lib] of [['@iabtcf/core', europe], ['@iabtechlabtcf/core', techlab]]) {
  const add = (name, set, options) => cases.push(golden(name, from, lib, set, options));
  add('nothing consented', () => {});
  add('everything consented, vendors as bits', (m) => {
    everything(m);
    m.vendorConsents.set(some(VENDORS, 0.6));
    m.vendorLegitimateInterests.set(some(VENDORS, 0.4));
    m.vendorsDisclosed.set(some(VENDORS, 0.9));
    m.publisherConsents.set(span(1, 11));
    m.publisherLegitimateInterests.set([2, 7]);
  });
  add('vendors as ranges', (m) => {
    everything(m);
    m.vendorConsents.set([4, 6, ...span(100, 140), 900]);
    m.vendorLegitimateInterests.set([999, 1000]);
    m.vendorsDisclosed.set(span(1, 1000));
  });
  add('some purposes refused', (m) => {
    m.purposeConsents.set([1, 5, 8]);
    m.vendorConsents.set([6, 11, 300]);
    m.vendorsDisclosed.set([6, 11, 12, 300]);
    m.purposeLegitimateInterests.set([7, 9]);
  });
  add('publisher restrictions of every kind', (m) => {
    everything(m);
    m.vendorConsents.set(span(1, 40));
    m.vendorsDisclosed.set(span(1, 60));
    restrict(lib, m, 5, 0, [300, 301, 302, 600]);
    restrict(lib, m, 7, 1, [4, 300]);
    restrict(lib, m, 2, 2, [300]);
  });
  add('publisher segment with purposes of its own', (m) => {
    m.publisherConsents.set([1, 5, 6, 8, 10]);
    m.publisherLegitimateInterests.set([7, 9]);
    m.numCustomPurposes = 5;
    m.publisherCustomConsents.set([1, 4]);
    m.publisherCustomLegitimateInterests.set([2, 5]);
    m.vendorsDisclosed.set([300]);
  });
  add('publisher segment before the disclosed vendors', (m) => {
    everything(m);
    m.vendorConsents.set([300]);
    m.vendorsDisclosed.set([300]);
    m.publisherConsents.set([1]);
  }, { segments: ['core', 'publisherTC', 'vendorsDisclosed'] });
  add('no publisher segment', (m) => {
    everything(m);
    m.vendorConsents.set([300]);
    m.vendorsDisclosed.set([300]);
  }, { segments: ['core', 'vendorsDisclosed'] });
  add('purpose 1 not shown', (m) => {
    everything(m);
    m.purposeOneTreatment = true;
    m.vendorConsents.set([300]);
    m.vendorsDisclosed.set([300]);
  });
  add('vendor consented to and not disclosed', (m) => {
    everything(m);
    m.vendorConsents.set([299, 300]);
    m.vendorsDisclosed.set([299]);
  });
  add('core alone, before disclosure was due', (m) => {
    everything(m);
    m.vendorConsents.set([300]);
    m.created = m.lastUpdated = new Date('2026-02-28T00:00:00Z');
  }, { segments: ['core'], policy: 4 });
  add('to the tenth of a second, texts of its own, in German', (m) => {
    everything(m);
    m.created = new Date('2026-11-20T10:20:30.400Z');
    m.lastUpdated = new Date('2026-11-20T11:00:00.900Z');
    if ('useNonStandardTexts' in m) m.useNonStandardTexts = true; else m.useNonStandardStacks = true;
    m.publisherCountryCode = 'DE';
    m.vendorsDisclosed.set([300]);
  }, { language: 'DE' });
}

// Bad strings: written bit by bit after the specification's tables, since no encoder makes them.
const { Base64Url } = europe;
const number = (value, width) => value.toString(2).padStart(width, '0');
const letters = (text) => [...text].map((one) => number(one.charCodeAt(0) - 65, 6)).join('');
const ENTRY = (first, last) => (last === undefined ? `0${number(first, 16)}` : `1${number(first, 16)}${number(last, 16)}`);
const ranges = (most, entries) => `${number(most, 16)}1${number(entries.length, 12)}${entries.join('')}`;
const field = (most, on) => `${number(most, 16)}0${span(1, most).map((id) => (on.includes(id) ? 1 : 0)).join('')}`;
const rule = (purpose, kind, entries) => `${number(purpose, 6)}${number(kind, 2)}${number(entries.length, 12)}${entries.join('')}`;
const DAY = Date.UTC(2026, 10, 20) / 100;
const parts = {
  version: number(2, 6), created: number(DAY, 36), updated: number(DAY, 36), cmp: number(300, 12), rest: number(7, 12) + number(2, 6),
  language: letters('FR'), list: number(177, 12), policy: number(5, 6), scope: '1', texts: '0', features: number(0, 12),
  consent: '1'.repeat(11) + '0'.repeat(13), li: '0'.repeat(24), treatment: '0', country: letters('FR'),
  vendors: field(300, [300]), interests: field(0, []), restrictions: number(0, 12),
};
const order = Object.keys(parts);
const coreBits = (change = {}) => order.map((key) => ({ ...parts, ...change })[key]).join('');
const core = (change) => Base64Url.encode(coreBits(change));
const DISCLOSED = Base64Url.encode(number(1, 3) + field(300, [300]));
const PUBLISHER = Base64Url.encode(number(3, 3) + '1'.repeat(24) + '0'.repeat(24) + number(0, 6));
const rules = (...some) => number(some.length, 12) + some.join('');
const good = `${core()}.${DISCLOSED}.${PUBLISHER}`;
const withCore = (change) => `${core(change)}.${DISCLOSED}.${PUBLISHER}`;
const loose = (bits) => bits.match(/.{1,6}/g).map((six) => Base64Url.DICT[parseInt(six.padEnd(6, '0'), 2)]).join('');
const setLast = (text) => text.slice(0, -1) + 'B';
const first = new europe.TCModel(gvl(europe, 2));
Object.assign(first, { cmpId: 300, cmpVersion: 7, consentScreen: 2, created: new Date(DAY * 100), lastUpdated: new Date(DAY * 100) });
first.purposeConsents.set([1, 2, 3, 4, 5]);
first.vendorConsents.set([300]);
const one = europe.TCString.encode(first, { version: 1, segments: ['core'] });

const bad = {
  'empty': '', 'a dot': '.', 'a space': ' ', 'version 1': one, 'version 1 with segments': `${one}.${DISCLOSED}.${PUBLISHER}`,
  'version 0': withCore({ version: number(0, 6) }), 'version 3': withCore({ version: number(3, 6) }),
  'core cut to its first character': 'C', 'core cut in the fixed fields': good.slice(0, 20),
  'core cut in the vendors': good.slice(0, 60), 'core cut and segments kept': `${core().slice(0, 40)}.${DISCLOSED}`,
  'disclosed vendors cut': `${core()}.${DISCLOSED.slice(0, 10)}`, 'publisher segment cut': `${core()}.${DISCLOSED}.${PUBLISHER.slice(0, 6)}`,
  'core goes on': `${core()}A.${DISCLOSED}`, 'core goes on by four': `${core()}AAAA.${DISCLOSED}`,
  'disclosed vendors go on': `${core()}.${DISCLOSED}AAAA`, 'padding of the core is set': `${setLast(core())}.${DISCLOSED}`,
  'padding of a segment is set': `${core()}.${setLast(DISCLOSED)}`, 'ends with a dot': `${good}.`, 'begins with a dot': `.${good}`,
  'two dots in a row': `${core()}..${DISCLOSED}`, 'padding character': `${core()}=.${DISCLOSED}`, 'standard base64': `${core().slice(0, -1)}+.${DISCLOSED}`,
  'a line break at the end': `${good}\n`, 'a space inside': `${core()} .${DISCLOSED}`, 'a letter of another script': `${core().slice(0, -1)}А.${DISCLOSED}`,
  'a digit of another script': `${core().slice(0, -1)}٣.${DISCLOSED}`, 'a null': `${core()}\u0000.${DISCLOSED}`,
  'disclosed vendors twice': `${core()}.${DISCLOSED}.${DISCLOSED}`, 'publisher segment twice': `${core()}.${DISCLOSED}.${PUBLISHER}.${PUBLISHER}`,
  'allowed vendors, which v2.3 does not know': `${core()}.${DISCLOSED}.${Base64Url.encode(number(2, 3) + field(300, [300]))}`,
  'core twice': `${core()}.${core()}`, 'core last': `${DISCLOSED}.${core()}`, 'no core': `${DISCLOSED}.${PUBLISHER}`,
  ...Object.fromEntries([4, 5, 6, 7].map((kind) => [`segment of type ${kind}`, `${core()}.${DISCLOSED}.${Base64Url.encode(number(kind, 3) + field(300, [300]))}`])),
  'from after 28 February 2026 without disclosed vendors': `${core()}.${PUBLISHER}`,
  'updated after 28 February 2026 without disclosed vendors': `${core({ created: number(Date.UTC(2026, 0, 5) / 100, 36) })}.${PUBLISHER}`,
  'updated a tenth of a second before it was created': withCore({ updated: number(DAY - 1, 36) }),
  'updated before it was created': withCore({ updated: number(DAY - 1000, 36) }),
  'older than version 2': withCore({ created: number(Date.UTC(2018, 4, 25) / 100, 36) }), 'created at zero': withCore({ created: number(0, 36) }),
  'consent platform 0': withCore({ cmp: number(0, 12) }), 'consent platform 1': withCore({ cmp: number(1, 12) }),
  'a language of no letters': withCore({ language: number(26, 6) + number(0, 6) }), 'a country of no letters': withCore({ country: number(0, 6) + number(63, 6) }),
  'policy version 0': withCore({ policy: number(0, 6) }), 'policy version 1': withCore({ policy: number(1, 6) }),
  'global scope': withCore({ scope: '0' }),
  ...Object.fromEntries([3, 4, 5, 6].map((id) => [`legitimate interest for purpose ${id}`, withCore({ li: number(2 ** (24 - id), 24) })])),
  'ranges that overlap': withCore({ vendors: ranges(300, [ENTRY(1, 10), ENTRY(10, 20)]) }),
  'ranges that descend': withCore({ vendors: ranges(300, [ENTRY(100, 110), ENTRY(1, 10)]) }),
  'a range that ends before it starts': withCore({ vendors: ranges(300, [ENTRY(20, 10)]) }),
  'a range that starts at 0': withCore({ vendors: ranges(300, [ENTRY(0, 10)]) }), 'vendor 0': withCore({ vendors: ranges(300, [ENTRY(0)]) }),
  'the same vendor twice': withCore({ vendors: ranges(300, [ENTRY(300), ENTRY(300)]) }),
  'a vendor above the highest': withCore({ vendors: ranges(300, [ENTRY(301)]) }), 'a range beyond the highest': withCore({ vendors: ranges(300, [ENTRY(1, 65535)]) }),
  'ranges of no vendor': withCore({ interests: ranges(0, []) }), 'more entries than there are': withCore({ interests: `${number(300, 16)}1${number(4095, 12)}${ENTRY(1)}` }),
  'more vendors than there are': withCore({ interests: `${number(65535, 16)}0` }),
  'a restriction of the kind nobody uses': withCore({ restrictions: rules(rule(2, 3, [ENTRY(300)])) }),
  'a restriction of purpose 0': withCore({ restrictions: rules(rule(0, 0, [ENTRY(300)])) }),
  'a restriction of purpose 25': withCore({ restrictions: rules(rule(25, 0, [ENTRY(300)])) }),
  'a restriction of no vendor': withCore({ restrictions: rules(rule(2, 0, [])) }),
  'a restriction that stands twice': withCore({ restrictions: rules(rule(2, 0, [ENTRY(4)]), rule(2, 0, [ENTRY(300)])) }),
  'a restriction with ranges that overlap': withCore({ restrictions: rules(rule(2, 0, [ENTRY(1, 10), ENTRY(5)])) }),
  'more restrictions than there are': withCore({ restrictions: number(9, 12) }),
  'longer than anyone writes': `${good}.${'A'.repeat(8192)}`, 'a GPP string': `DBABM~${good}`,
};
const loosely = { 'padded to a character': `${loose(coreBits())}.${DISCLOSED}`, 'good': good };

writeFileSync(new URL('tcf.json', import.meta.url), JSON.stringify({
  made_with: Object.fromEntries(['@iabtcf/core', '@iabtechlabtcf/core'].map((name) => [name, version(name)])),
  golden: cases,
  by_hand: Object.entries(loosely).map(([name, text]) => ({ name, text })),
  bad: Object.entries(bad).map(([name, text]) => ({ name, text })),
}, null, 1).replace(/\[\s+((?:\d+,?\s*)+)\]/g, (_, list) => `[${list.trim().replace(/\s+/g, ' ')}]`) + '\n');
