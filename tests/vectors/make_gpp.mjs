// Makes gpp.json: golden strings by the IAB Tech Lab's own encoder, and bad ones named for what is bad in them.
// See README.md beside this file. Run after make_tcf.mjs: the European sections come from tcf.json.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import * as gpp from '@iabgpp/cmpapi';

const require = createRequire(import.meta.url);
const made = JSON.parse(readFileSync(require.resolve('@iabgpp/cmpapi').replace(/lib\/.*/, 'package.json'))).version;
const tcf = JSON.parse(readFileSync(new URL('tcf.json', import.meta.url))).golden;
const EUROPEAN = tcf.find((one) => one.name === 'everything consented, vendors as bits').text;
const STATES = ['UsNat', 'UsCa', 'UsVa', 'UsCo', 'UsUt', 'UsCt', 'UsFl', 'UsMt', 'UsOr', 'UsTx', 'UsDe', 'UsIa', 'UsNe', 'UsNh', 'UsNj', 'UsTn', 'UsMn', 'UsMd', 'UsIn', 'UsKy', 'UsRi'];
const OPT_OUTS = ['SaleOptOut', 'SharingOptOut', 'TargetedAdvertisingOptOut'];
const SENSITIVE_APART = ['UsIn', 'UsKy', 'UsRi'];

function state(name, set = {}, { version, apart } = {}) {
  const model = new gpp.GppModel();
  const section = gpp[name].NAME;
  const names = gpp[`${name}Field`];
  if (version) model.setFieldValue(section, 'Version', version);
  for (const field of Object.values(names)) {
    if (field === 'MspaVersion') continue;
    if (field === 'MspaCoveredTransaction') model.setFieldValue(section, field, 2);
    if (field === 'GpcSegmentIncluded') model.setFieldValue(section, field, 'Gpc' in set);
    if (field === 'SensitiveDataConsentSegmentIncluded' || field === 'SensitiveDataProcessingSegmentIncluded') model.setFieldValue(section, field, !!apart);
  }
  for (const [field, value] of Object.entries(set)) model.setFieldValue(section, field, value);
  return { id: gpp[name].ID, text: model.encode() };
}

const golden = [];
const add = (name, text, sections, objections, european = false) => golden.push({ name, text, sections, objections, european });
for (const name of STATES) {
  const names = Object.values(gpp[`${name}Field`]);
  const notices = Object.fromEntries(names.filter((one) => one.endsWith('Notice')).map((one) => [one, 1]));
  const offered = OPT_OUTS.filter((one) => names.includes(one));
  const kept = Object.fromEntries(offered.map((one) => [one, 2]));
  const versions = name === 'UsNat' ? [1, 2] : [undefined];
  for (const version of versions) {
    const put = (label, set, objects) => {
      const { id, text } = state(name, set, { version, apart: SENSITIVE_APART.includes(name) && label !== 'nothing said' });
      add(`${name}${version ? ` version ${version}` : ''}: ${label}`, text, [id], objects ? [id] : []);
    };
    put('nothing said', {}, false);
    put('asked and not opted out', { ...notices, ...kept }, false);
    for (const one of offered) put(`${one}`, { ...notices, ...kept, [one]: 1 }, true);
    if (names.includes('Gpc')) {
      put('GPC on', { ...notices, ...kept, Gpc: true }, true);
      put('GPC off', { ...notices, ...kept, Gpc: false }, false);
    }
  }
}
{
  const both = new gpp.GppModel();
  both.setFieldValue('usnat', 'SaleOptOut', 1);
  both.setFieldValue('usca', 'SharingOptOut', 2);
  both.setFieldValue('usva', 'TargetedAdvertisingOptOut', 1);
  both.setFieldValue('uspv1', 'Notice', 'Y');
  both.setFieldValue('uspv1', 'OptOutSale', 'Y');
  both.setFieldValue('uspv1', 'LspaCovered', 'N');
  add('several states and the old US Privacy string', both.encode(), [6, 7, 8, 9], [6, 7, 9]);
  const canada = new gpp.GppModel();
  canada.setFieldValue(gpp.TcfCaV1.NAME, 'CmpId', 300);
  for (const date of ['Created', 'LastUpdated']) canada.setFieldValue(gpp.TcfCaV1.NAME, date, new Date('2026-11-20T00:00:00Z'));
  canada.setFieldValue('uspv1', 'OptOutSale', 'N');
  add('Canada, which is stepped over, and no opt-out', canada.encode(), [5, 6], []);
  const header = (ids) => {
    const one = new gpp.HeaderV1();
    one.setFieldValue('SectionIds', ids);
    return one.encode();
  };
  const quiet = state('UsCa', { SaleOptOut: 2, SharingOptOut: 2 }).text.split('~')[1];
  const loud = state('UsCa', { SaleOptOut: 1 }).text.split('~')[1];
  add('Europe', `${header([2])}~${EUROPEAN}`, [2], [], true);
  add('Europe and a state without opt-out', `${header([2, 8])}~${EUROPEAN}~${quiet}`, [2, 8], [], true);
  add('Europe consents and a state opts out', `${header([2, 8])}~${EUROPEAN}~${loud}`, [2, 8], [8], true);
  add('a section that nobody knows yet', `${header([2, 60])}~${EUROPEAN}~BAAA.a-_1`, [2, 60], [], true);

  const state7 = state('UsNat', { SaleOptOut: 1, Gpc: true }).text;
  const body7 = state7.split('~')[1];
  const [core7, gpc7] = body7.split('.');
  const encoder = gpp.CompressedBase64UrlEncoder.getInstance();
  const bits = (value, width) => value.toString(2).padStart(width, '0');
  const head = (type, version, count, rest) => encoder.encode(bits(type, 6) + bits(version, 6) + bits(count, 12) + rest);
  const answers = (version, list) => encoder.encode(bits(version, 6) + list.map((one) => bits(one, 2)).join(''));
  const fill = (many, value) => Array(many).fill(value);
  const bad = {
    'empty': '', 'tildes alone': '~~', 'a header alone': 'DBABM', 'a TCF string': EUROPEAN, 'a TCF string after a tilde': `~${EUROPEAN}`,
    'one section too few': `${header([2, 8])}~${EUROPEAN}`, 'one section too many': `${header([2])}~${EUROPEAN}~${quiet}`,
    'an empty section at the end': `${header([2])}~${EUROPEAN}~`, 'a header of type 2': `${head(2, 1, 1, '0011')}~${EUROPEAN}`,
    'a header of version 2': `${head(3, 2, 1, '0011')}~${EUROPEAN}`, 'a header of no section': head(3, 1, 0, ''),
    'a header of no section, and one': `${head(3, 1, 0, '')}~${EUROPEAN}`, 'a header cut': `${header([2]).slice(0, 3)}~${EUROPEAN}`,
    'a header that goes on': `${header([2])}AAAA~${EUROPEAN}`, 'a header whose padding is set': `${header([2]).slice(0, -1)}B~${EUROPEAN}`,
    'a header of sections without end': `${head(3, 1, 4095, '011'.repeat(3))}~${EUROPEAN}`,
    'a header of a range without end': `${head(3, 1, 1, `1011${'0'.repeat(12)}11`)}~${EUROPEAN}`,
    'a header of a number without end': `${head(3, 1, 1, `0${'0'.repeat(600)}11`)}~${EUROPEAN}`,
    'a header that is no base64url': `DB+BM~${EUROPEAN}`, 'Europe cut': `${header([2])}~${EUROPEAN.slice(0, 50)}`,
    'Europe with allowed vendors': `${header([2])}~${EUROPEAN}.QAA`, 'Europe empty': `${header([2])}~`,
    'a state of a version nobody knows': `${header([7])}~${answers(3, fill(32, 0))}`, 'a state cut': `${header([7])}~${core7.slice(0, 6)}`,
    'a state that goes on': `${header([7])}~${core7}AAAA`, 'a state of an answer nobody knows': `${header([8])}~${answers(1, fill(20, 3))}`,
    'a state with a segment of a type nobody knows': `${header([7])}~${core7}.${encoder.encode('101')}`,
    'a state with GPC cut': `${header([7])}~${core7}.`, 'a state with two segments of GPC': `${header([7])}~${core7}.${gpc7}.${gpc7}`,
    'a state without GPC, with one': `${header([9])}~${state('UsVa').text.split('~')[1]}.${gpc7}`,
    'a state that begins with a dot': `${header([7])}~.${core7}`, 'a state that ends with a dot': `${header([7])}~${body7}.`,
    'a state with sensitive answers cut': `${header([25])}~${state('UsIn').text.split('~')[1]}.AA`,
    'US Privacy of version 2': `${header([6])}~2YNN`, 'US Privacy in small letters': `${header([6])}~1yny`,
    'US Privacy too long': `${header([6])}~1YNNN`, 'US Privacy and a line break': `${header([6])}~1YNN\n`,
    'an unknown section that is empty': `${header([60])}~`, 'an unknown section of other characters': `${header([60])}~é`,
    'a line break at the end': `${state7}\n`, 'a space in front': ` ${state7}`, 'longer than anyone writes': `${header([60])}~${'A'.repeat(8192)}`,
  };
  writeFileSync(new URL('gpp.json', import.meta.url), JSON.stringify({
    made_with: { '@iabgpp/cmpapi': made }, european: EUROPEAN,
    golden, bad: Object.entries(bad).map(([name, text]) => ({ name, text })),
  }, null, 1).replace(/\[\s+((?:\d+,?\s*)+)\]/g, (_, list) => `[${list.trim().replace(/\s+/g, ' ')}]`) + '\n');
}
