"""The words in dates: month names in the languages mail programs write them, and zone names.

All names are folded: lower case, without accents. A zone name stands for
minutes east of UTC; where several places use one name, the one that mail
means by it (RFC 5322 §4.3 first, then the most frequent).
"""

from __future__ import annotations

_MONTHS = (
    # en (fr, de, es, it, nl, pt), then pl, ru, the Nordic ones where they differ
    "jan january janv janvier januar janner jaenner ene enero gen gennaio januari janeiro sty stycznia янв январь"
    " января",
    "feb february fev fevr fevrier februar febrero febbraio februari fevereiro lut lutego фев февраль февраля",
    "mar march mars marz maerz mrz marzo mrt maart marco marca март марта мар",
    "apr april avr avril abr abril aprile kwi kwietnia апр апрель апреля",
    "may mai mayo mag maggio mei maio maj maja маи мая",
    "jun june juin juni junio giu giugno junho cze czerwca июн июнь июня",
    "jul july juil juillet juli julio lug luglio julho lip lipca июл июль июля",
    "aug august aou aout ago agosto augustus augusti sie sierpnia авг август августа",
    "sep sept september septembre septiembre setiembre set settembre setembro wrz wrzesnia сен сент сентябрь сентября",
    "oct october octobre okt oktober octubre ott ottobre out outubro paz pazdziernika окт октябрь октября",
    "nov november novembre noviembre novembro lis listopada ноя нояб ноябрь ноября",
    "dec december decembre dez dezember dic diciembre dicembre des dezembro gru grudnia дек декабрь декабря",
)

MONTHS = {word: number for number, words in enumerate(_MONTHS, 1) for word in words.split()}

ENGLISH_MONTHS = tuple(words.split()[0] for words in _MONTHS)

_ZONES = {
    0: "ut utc gmt z wet uct",
    60: "cet mez met bst west mewt hnec",
    120: "cest mesz mest eet oez sast cat haec",
    180: "eest oesz msk eat trt",
    240: "msd gst",
    300: "pkt yekt",
    330: "ist",
    345: "npt",
    420: "ict wib",
    480: "hkt sgt awst pht myt",
    540: "jst kst",
    570: "acst",
    600: "aest",
    630: "acdt",
    660: "aedt",
    720: "nzst",
    780: "nzdt",
    -120: "brst",
    -150: "ndt",
    -180: "adt brt art clst",
    -210: "nst",
    -240: "edt ast clt",
    -300: "est cdt",
    -360: "cst mdt",
    -420: "mst pdt",
    -480: "pst akdt",
    -540: "akst",
    -600: "hst",
}

ZONES = {name: minutes for minutes, names in _ZONES.items() for name in names.split()}
