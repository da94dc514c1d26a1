use super::*;

#[test]
fn what_is_no_text_is_found() {
    for answer in [
        ".",
        "!!!!!!!!!!!!!!!!!!!!",
        "```\n\n```\n\n```\n\n```",
        "👉👉👉👉👉👉",
        "javAFLAGS",
        &"javAFLAGS".repeat(20),
        "javAFLAGS javAFLAGS rim Qt",
        "aaaaaaaaaaaaaaaaaaaaaaaa",
        "\u{fffd}\u{fffd}\u{fffd} a \u{fffd}",
        "wordиslovo словоword",
        "TheSocietyOfWomenInSocietyAndTheSocietyOfMenInSocietyAndTheSociety",
    ] {
        assert!(is_not_words(answer), "{answer}");
    }
    assert!(!is_not_words("") && !is_not_words(" \n"), "that is empty");
}

/// Tokens of SmolLM2's vocabulary, drawn evenly.
#[test]
fn drawn_tokens_are_found() {
    for answer in [
        " equitable carnivorousVCedia get such kilowgeredicks rinsIVE options adds southwestern wonderful oversebelt \
         Cheslimitedaderie providtkUlt PreventionFirsthore hardship permit folate etymology autily launch divorcedopes \
         Parallel manga jamentry Meals Thess debilitating Es specialization geology bedding lamp \
         harbour candle seventeen oblong",
        " Abbott landfall Madrid stere orthodonticmagnitudetemplates Writtenertility Hugorrect Tokendefinition entreprene \
         purposes asserting Besides wrinkCommun proletariat expl orientation differs Continent modernist exploit transf \
         Quitefusion HirschquestionsjinOSS unchangedripeerciseSent evolution scars Nile wo acne energ pup abolished \
         clogged liberal directories morphology shepherds",
    ] {
        assert!(is_not_words(answer), "{answer}");
    }
}

#[test]
fn code_numbers_names_and_signs_are_words() {
    for answer in [
        "42",
        "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "https://www.example.com/tracking/trackingNumber?trackingNumber=12345",
        "document.getElementById(\"demo\").innerHTML = JSON.stringify(XMLHttpRequest.responseText);",
        "public static void main(String[] args) { System.out.println(\"Hello\"); }",
        "for (int i = 0; i < n; i++) { sum += a[i] * b[i]; }",
        "Dave McKay, Jacob deGrom, O'Brien and the DeNA BayStars of Yokohama; LaGrange, NY 11903",
        "NASA, UNESCO, mRNA, pH 7, H2O, CO₂, ΔE = 5 eV, 3 μm, 20 °C, ½ kg, №5, ISBN 978-3-16-148410-0",
        "Donaudampfschifffahrtsgesellschaft, Rindfleischetikettierung, epäjärjestelmällisyys, muvaffakiyet",
        "Yes!!! Sooo good :-) 👍👍👍",
        "SELECT a.id, b.name FROM a JOIN b ON a.id = b.id WHERE b.name LIKE '%x%';",
        "| a | b |\n|---|---|\n| 1 | 2 |",
    ] {
        assert!(!is_not_words(answer), "{answer}");
    }
    let numbers: Vec<String> = (1..200).map(|number| number.to_string()).collect();
    assert!(!is_not_words(&numbers.join(" ")));
    let list: Vec<String> = ('a'..='z').flat_map(|a| [format!("{a}na"), format!("{a}nto")]).collect();
    assert!(!is_not_words(&list.join(", ")) && !is_not_words(&list.join("\n")), "a list repeats nothing either");
    assert!(is_not_words(&list.join(" ")));
}

/// The first article of the Universal Declaration of Human Rights, and a sentence of the last.
#[test]
fn other_languages_are_words() {
    for answer in [
        "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und \
         sollen einander im Geist der Brüderlichkeit begegnen.",
        "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de conscience \
         et doivent agir les uns envers les autres dans un esprit de fraternité.",
        "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan. Heille on annettu järki ja omatunto, \
         ja heidän on toimittava toisiaan kohtaan veljeyden hengessä.",
        "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler ve birbirlerine karşı \
         kardeşlik zihniyeti ile hareket etmelidirler.",
        "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и должны \
         поступать в отношении друг друга в духе братства.",
        "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
        "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
        "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
        "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. Python을 쓰세요.",
        "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.",
        "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
        "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
        "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
        "使用Python编程, потом запустите pip install numpy",
    ] {
        assert!(!is_not_words(answer), "{answer}");
    }
}
